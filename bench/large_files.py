#!/usr/bin/env python3
"""Audits and merges of large checkpoints against the floor: the same bytes through cat, cp and dd.

    bench/large_files.py HIERON FOLDER [--gb 1.0] [--runs 5] [--sizes 0.1,0.3,1,3]

Makes two bf16 parents of --gb each by repeating the tensors of the bundled family under new names, merges them
with HIERON, and times, in turn, the floor and hieron in the same state of the page cache:

  audit warm    the three files in the page cache; floor: cat of the three to /dev/null
  audit cold    the page cache dropped; floor: the faster of cat and dd with direct I/O
  merge cold    the page cache dropped; floor: the faster of cp and dd with direct I/O for the same bytes, with fsync
  scaling       the audit's time and memory against its bytes, for --sizes

Prints the median of the ratios run by run. Dropping the page cache needs root; without it the cold rows are
left out. FOLDER needs about five times --gb free, and is left empty.
"""

import argparse
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

FAMILY = Path(__file__).resolve().parent.parent / "tests/data/textgenrnn"


def tensors_of(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    header.pop("__metadata__", None)
    return [(name, t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()]


def grow(source, target, size):
    """A checkpoint of about `size` bytes: the source's tensors again and again, as layers."""
    tensors = tensors_of(source / "model.safetensors")
    each = sum(len(data) for *_, data in tensors)
    layers = max(1, round(size / each))
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for layer in range(layers):
        for name, dtype, shape, data in tensors:
            header[f"layers.{layer}.{name}"] = {
                "dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
            at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 4096)
    target.mkdir(parents=True, exist_ok=True)
    once = b"".join(data for *_, data in tensors)
    with open(target / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _ in range(layers):
            file.write(once)
        os.fsync(file.fileno())
    return target


def drop_caches():
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
        return True
    except OSError:
        return False


def run(command):
    """Wall seconds, CPU seconds and peak memory (MiB) of one command."""
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - start
    message = child.stderr.read().decode(errors="replace").strip()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 1):
        sys.exit(f"{' '.join(map(str, command))}: status {child.returncode}: {message}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def shell(script):
    return ["sh", "-c", script]


def report(name, size, floors, measured):
    """One row: the floor is the fastest of the floors' medians; the ratio is taken run by run against it."""
    best = min(floors, key=lambda floor: median(s for s, *_ in floors[floor]))
    ratio = median(m[0] / f[0] for m, f in zip(measured, floors[best]))
    seconds = median(m[0] for m in measured)
    print(f"| {name} | {size / 1e9:.2f} GB | {best} {median(f[0] for f in floors[best]):.2f} s | {seconds:.2f} s | "
          f"{ratio:.2f} | {median(m[1] for m in measured):.2f} s | {max(m[2] for m in measured):.0f} MiB |", flush=True)


def audit_rows(hieron, files, audit, runs):
    size = sum(os.path.getsize(f) for f in files)
    quoted = " ".join(f"'{f}'" for f in files)
    cat = shell(f"cat {quoted} > /dev/null")
    direct = shell("; ".join(f"dd if='{f}' of=/dev/null bs=8M iflag=direct status=none" for f in files))
    run(cat)
    floor, measured = [], []
    for _ in range(runs):
        floor.append(run(cat))
        measured.append(run(audit))
    report("audit, warm", size, {"cat": floor}, measured)
    if not drop_caches():
        return
    floors, measured = {"cat": [], "dd direct": []}, []
    for _ in range(runs):
        for name, command in (("cat", cat), ("dd direct", direct)):
            drop_caches()
            floors[name].append(run(command))
        drop_caches()
        measured.append(run(audit))
    report("audit, cold", size, floors, measured)


def merge_rows(hieron, folder, parents, recipe, runs):
    if not drop_caches():
        return
    inputs = [p / "model.safetensors" for p in parents]
    size = sum(os.path.getsize(f) for f in inputs) + os.path.getsize(inputs[0])
    # The same bytes: both inputs read, one output written and synced.
    cp = shell(f"cp '{inputs[0]}' '{folder}/floor' && cat '{inputs[1]}' > /dev/null && sync '{folder}/floor'")
    dd = shell(f"dd if='{inputs[1]}' of=/dev/null bs=8M iflag=direct status=none & "
               f"dd if='{inputs[0]}' of='{folder}/floor' bs=8M iflag=direct oflag=direct conv=fsync status=none; wait")
    floors, measured = {"cp": [], "dd direct": []}, []
    for _ in range(runs):
        for name, command in (("cp", cp), ("dd direct", dd)):
            drop_caches()
            floors[name].append(run(command))
            os.unlink(f"{folder}/floor")
        shutil.rmtree(folder / "out", ignore_errors=True)
        drop_caches()
        measured.append(run([hieron, "merge", recipe, folder / "out", "--quiet"]))
    report("merge of two, cold", size, floors, measured)


def prepare(hieron, folder, size):
    folder.mkdir(parents=True, exist_ok=True)
    parents = [grow(FAMILY / f"{name}-bf16", folder / name, size) for name in ("hacker_news", "base")]
    recipe = folder / "recipe.yml"
    recipe.write_text("merge_method: linear\nmodels:\n"
                      f"  - {{model: '{parents[0]}', parameters: {{weight: 0.6}}}}\n"
                      f"  - {{model: '{parents[1]}', parameters: {{weight: 0.4}}}}\ndtype: bfloat16\n")
    suspect = folder / "suspect"
    run([hieron, "merge", recipe, suspect, "--quiet"])
    audit = [hieron, "audit", suspect, "--parent", parents[0], "--base", parents[1],
             "--expect", "exact-merge", "--quiet"]
    return parents, suspect, recipe, audit


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hieron", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gb", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--sizes", default="0.1,0.3,1,3")
    asked = parser.parse_args()
    hieron = asked.hieron.resolve()
    folder = asked.folder.resolve() / "hieron-bench"
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    print(f"{time.strftime('%Y-%m-%d')}, {cpu}, {os.cpu_count()} cores, Linux {platform.release()}; "
          f"{asked.runs} runs, medians\n")
    print("| what | bytes | floor | hieron | ratio | CPU | peak RSS |\n|---|---|---|---|---|---|---|")
    try:
        parents, suspect, recipe, audit = prepare(hieron, folder, asked.gb * 1e9)
        files = [p / "model.safetensors" for p in (suspect, *parents)]
        if not (suspect / "model.safetensors").exists():
            sys.exit("the suspect is sharded: choose --gb below 5")
        audit_rows(hieron, files, audit, asked.runs)
        merge_rows(hieron, folder, parents, recipe, asked.runs)
        print("\nScaling (warm audit of three files of so many bytes each)\n\n| each | seconds | GB/s | peak RSS |\n"
              "|---|---|---|---|")
        for size in (float(s) for s in asked.sizes.split(",") if s):
            shutil.rmtree(folder)
            _, _, _, audit = prepare(hieron, folder, size * 1e9)
            run(audit)
            times = [run(audit) for _ in range(asked.runs)]
            seconds = median(t[0] for t in times)
            print(f"| {size:g} GB | {seconds:.2f} | {3 * size / seconds:.2f} | {max(t[2] for t in times):.0f} MiB |",
                  flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
