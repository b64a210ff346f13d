#!/usr/bin/env python3
"""An audit over HTTP ranges beside the floor: curl fetching the same ranges from the same server.

    remote_audit.py HIERON [--tensors 1500] [--delay-ms 50] [--sample 16KiB] [--rounds 3]

The server is tests/fake_hub.py on this machine, with so much delay added to each request. It serves three models of
so many tensors of 1024 x 1024 BF16 (a base, a fine-tune, and a blend of both), whose bytes are worked out when they are asked
for. Prints seconds, requests, bytes, CPU seconds and the largest resident memory of hieron, and the ratio to curl's
seconds. Needs NumPy and the program curl.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from made_up import bell, bf16, blend, made_up_shard, widened

from fake_hub import FakeHub, MadeUpFile  # made_up has put its folder into the path

ROWS = 1024
SHARDS = 4
NAMES = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
         "mlp.up_proj", "mlp.down_proj")


def elements(model, first, count):
    base = bf16(bell(1, first, count) * np.float32(0.02))
    if model == "base":
        return base
    tuned = bf16(widened(base) + bell(2, first, count) * np.float32(0.002))
    return tuned if model == "tuned" else blend(tuned, base)


def shard(model, names, number):
    size, entries = ROWS * ROWS * 2, {}
    for i, name in enumerate(names):
        entries[name] = {"dtype": "BF16", "shape": [ROWS, ROWS], "data_offsets": [i * size, (i + 1) * size]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    origin = number << 40  # every shard has elements of its own
    return made_up_shard(f"{model} {number}", len(text).to_bytes(8, "little") + text, size * len(names),
                         lambda first, count: elements(model, origin + first, count))


def add_model(hub, name, model, tensors):
    names = [f"model.layers.{i // len(NAMES)}.{NAMES[i % len(NAMES)]}.weight" for i in range(tensors)]
    files, weight_map = {}, {}
    for s in range(SHARDS):
        path = f"model-{s + 1:05}-of-{SHARDS:05}.safetensors"
        mine = names[len(names) * s // SHARDS : len(names) * (s + 1) // SHARDS]
        files[path] = shard(model, mine, s)
        weight_map |= {n: path for n in mine}
    texts = {"config.json": {"model_type": "llama", "architectures": ["LlamaForCausalLM"],
                             "num_hidden_layers": -(-tensors // len(NAMES)), "hidden_size": ROWS},
             "model.safetensors.index.json": {"metadata": {}, "weight_map": weight_map}}
    for path, value in texts.items():
        files[path] = made_text(json.dumps(value).encode())
    hub.add(name, files=files)


def made_text(text):
    file = MadeUpFile(len(text), lambda o, n: text[o : o + n], "")
    file._hashes = hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest(), hashlib.sha256(text).hexdigest()
    return file


def timed(command, environment):
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        sys.exit(process.stderr.read().decode())
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("hieron")
    parser.add_argument("--tensors", type=int, default=1500)
    parser.add_argument("--delay-ms", type=float, default=50)
    parser.add_argument("--sample", default="16KiB")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    hub = FakeHub(delay=asked.delay_ms / 1000)
    for name, model in (("org/base", "base"), ("org/tuned", "tuned"), ("org/suspect", "blend")):
        add_model(hub, name, model, asked.tensors)
    print(f"{platform.machine()}, {os.cpu_count()} cores; {asked.tensors} tensors, {asked.delay_ms:g} ms a request")
    with hub, tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"HF_ENDPOINT": hub.endpoint, "no_proxy": "127.0.0.1,localhost"}
        ratios = []
        for number in range(asked.rounds):
            hub.requests.clear()
            report = Path(folder) / "report.json"
            environment["HF_HOME"] = f"{folder}/hf{number}"
            seconds, cpu, memory = timed(
                [asked.hieron, "audit", "org/suspect", "--parent", "org/tuned", "--base", "org/base", "--sample",
                 asked.sample, "--seed", "07", "--threads", "2", "--json", str(report), "--quiet"], environment)
            requests = list(hub.requests)
            ranges = [(p, h["Range"]) for r, m, p, h in requests if r == "cdn" and m == "GET"]
            fetched = sum(int(b) - int(a) + 1 for a, b in (r[6:].split("-") for _, r in ranges))
            config = Path(folder) / "curl"
            config.write_text("".join(f'url = "{hub.cdn}{p}"\nrange = "{r[6:]}"\noutput = "/dev/null"\nnext\n'
                                      for p, r in ranges).removesuffix("next\n"))
            floor, curl_cpu, _ = timed(["curl", "--silent", "--fail", "--parallel", "--parallel-max", "32", "-K",
                                        str(config)], environment)
            verdict = json.loads(report.read_text())["verdict"]["kind"]
            ratios.append(seconds / floor)
            print(f"hieron {seconds:6.2f} s  {len(requests)} requests  {fetched / 1e6:.1f} MB by range  "
                  f"CPU {cpu:.2f} s  RSS {memory / 2**20:.0f} MiB  {verdict}   curl {floor:6.2f} s  CPU {curl_cpu:.2f} s"
                  f"   ratio {seconds / floor:.2f}", flush=True)
        print(f"best ratio {min(ratios):.2f}")


if __name__ == "__main__":
    main()
