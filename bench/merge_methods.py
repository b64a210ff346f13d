#!/usr/bin/env python3
"""Every merge method against the floor, the same bytes through cp and dd, and against mergekit.

    bench/merge_methods.py HIERON FOLDER [--gb 1.9] [--runs 3] [--methods ties,slerp] [--cold]
                           [--mergekit PYTHON] [--versions 0.1.5] [--json FILE]

Makes three bf16 checkpoints of about --gb each in the shape of a Llama (hidden size 2048 from 1 GB on, smaller
below): a base of N(0, 0.02) and two fine-tunes of it whose changes are mostly below two units in the last place.
For each method, in turn and --runs times, in one state of the page cache:

  floor    all inputs read once and one of them written under another name, fsync included, reading the others
           meanwhile: the faster of cp and dd with direct I/O (its reads are direct only with --cold)
  hieron   `hieron merge`, arithmetic exact, SHA-256 and fsync included

then once `--arithmetic mergekit-V` for each of --versions, and once mergekit itself if its interpreter is named
(start of Python and torch included, no fsync; its default threads). Ratios are taken run by run; medians are shown.

Checked on the way: weighted sums (linear, task_arithmetic …) against f64 and, where that cannot decide, rational
arithmetic; mergekit's output against hieron's replay, bit by bit; if bits differ, mergekit runs again on one thread,
since its sums depend on the number of threads. How many elements of mergekit's are not the correctly rounded value
is counted on its output, or without mergekit on hieron's replay of it.

FOLDER needs about eight times --gb free. What is made there is removed at the end, the checkpoints not with --keep.
Exit 1 if a check failed or a merge did; a missed target is only shown.
"""

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from statistics import median

import numpy as np

SEED = 7
RSS_TARGET = 512  # MiB, exact, every method at any size
RIVAL_TARGET = 25  # times faster than mergekit, where Merge.beats_rival


@dataclass(frozen=True)
class Merge:
    """One row: a recipe over the checkpoints base, first and second."""

    method: str
    models: dict  # checkpoint: its parameters
    base: str = ""  # base_model
    target: float = 0  # times the floor; 0: none was set
    beats_rival: bool = False
    whole: dict = field(default_factory=dict)  # parameters of the recipe
    unlike: str = ""  # why mergekit's elements are others for more than rounding
    ours: bool = False  # mergekit has no such method

    def inputs(self):
        return list(dict.fromkeys([*([self.base] if self.base else []), *self.models]))

    def recipe(self, folder, out_dtype="bfloat16"):
        lines = [f"merge_method: {self.method}", "models:"]
        for name, parameters in self.models.items():
            lines.append(f"  - model: {folder / name}")
            if parameters:
                lines.append("    parameters: " + yaml_map(parameters))
        if self.base:
            lines.append(f"base_model: {folder / self.base}")
        if self.whole:
            paths = {name: folder / value for name, value in self.whole.items() if name == "vector"}
            lines.append("parameters: " + yaml_map(self.whole | paths))
        return "\n".join([*lines, f"dtype: {out_dtype}", ""])


def yaml_map(parameters):
    return "{" + ", ".join(f"{name}: {value}" for name, value in parameters.items()) + "}"


def both(**parameters):
    """The two fine-tunes with these parameters and weights 0.6 and 0.4."""
    return {"first": {"weight": 0.6, **parameters}, "second": {"weight": 0.4, **parameters}}


PAIR, ONE = {"first": {}, "second": {}}, {"first": {}}
MASK, WEIGHTS, SCORES = "another random mask", "equal weights for small changes", "scores lost in f32's rounding"

MERGES = [
    Merge("linear", both(), target=1.25),
    Merge("task_arithmetic", both(), "base", target=1.25),
    Merge("ties", both(density=0.5), "base", target=2.5, beats_rival=True),
    Merge("della", both(density=0.5), "base", target=2.5, beats_rival=True, unlike=MASK),
    Merge("breadcrumbs", both(density=0.5), "base", target=2.5, beats_rival=True),
    Merge("sce", PAIR, "base", target=2.5, beats_rival=True, whole={"select_topk": 0.5}, unlike=WEIGHTS),
    Merge("slerp", PAIR, "first", target=2, whole={"t": 0.4}),
    Merge("nuslerp", both(), target=2),
    Merge("model_stock", PAIR, "base", target=2),
    Merge("karcher", PAIR, target=2),
    Merge("multislerp", both()),
    Merge("dare_linear", both(density=0.5), "base", unlike=MASK),
    Merge("dare_ties", both(density=0.5), "base", unlike=MASK),
    Merge("della_linear", both(density=0.5), "base", unlike=MASK),
    Merge("breadcrumbs_ties", both(density=0.5), "base"),
    Merge("nearswap", ONE, "base", whole={"t": 0.0001}),
    Merge("arcee_fusion", ONE, "base", unlike=SCORES),
    Merge("ram", PAIR, "base"),
    Merge("ramplus_tl", PAIR, "base"),
    Merge("passthrough", {"first": {"scale": 0.9}}),
    Merge("weighted_sum", PAIR, whole={"alpha": 0.4}, ours=True),
    Merge("add_difference", PAIR, "base", whole={"alpha": 0.4}, ours=True),
    Merge("train_difference", PAIR, "base", whole={"alpha": 0.4}, ours=True),
    Merge("geometric_median", {"base": {}, **PAIR}, ours=True),
    Merge("direction_removal", ONE, whole={"vector": "direction.safetensors"}, ours=True),
]


# ---- checkpoints ----


def shape_of_model(size):
    """The widest Llama of the list that still has eight layers in `size` bytes."""
    for hidden, intermediate, vocab in ((2048, 5632, 32000), (1024, 2816, 16000), (512, 1408, 8000), (256, 704, 4000)):
        heads, kv_heads = hidden // 64, max(1, hidden // 512)
        layer = 2 * hidden * hidden + 2 * hidden * kv_heads * 64 + 3 * hidden * intermediate + 2 * hidden
        layers = round((size / 2 - 2 * vocab * hidden - hidden) / layer)
        if layers >= 8:
            break
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": max(1, layers),
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": 64, "vocab_size": vocab,
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "initializer_range": 0.02,
        "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16",
    }


def tensors_of_model(config):
    """Names and shapes in the order of a file written by the safetensors library."""
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    shapes = {f"{name}.weight": [vocab, hidden] for name in ("lm_head", "model.embed_tokens")}
    shapes["model.norm.weight"] = [hidden]
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        shapes |= {at + f"self_attn.{x}_proj.weight": [hidden, hidden] for x in "qo"}
        shapes |= {at + f"self_attn.{x}_proj.weight": [kv, hidden] for x in "kv"}
        shapes |= {at + f"mlp.{x}_proj.weight": [inner, hidden] for x in ("gate", "up")}
        shapes[at + "mlp.down_proj.weight"] = [hidden, inner]
        shapes |= {at + f"{x}_layernorm.weight": [hidden] for x in ("input", "post_attention")}
    return sorted(shapes.items())


def header_bytes(tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, shape in tensors:
        size = int(np.prod(shape)) * {"BF16": 2, "F32": 4}[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def bf16(values):
    """Bits of float32 values rounded to the nearest bfloat16, ties to even."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def normals(count, *key):
    return np.random.Generator(np.random.SFC64([SEED, *key])).standard_normal(count, dtype=np.float32)


def write_family(folder, config):
    """base, first, second. A fine-tune's change is s·n·|n|: half of all elements keep their bits, a few move far."""
    shapes = tensors_of_model(config)
    files = {}
    for name in ("base", "first", "second"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        files[name] = open(folder / name / "model.safetensors", "wb")
        files[name].write(header_bytes([(tensor, "BF16", shape) for tensor, shape in shapes]))

    def write_fine_tune(name, key, base, step):
        change = normals(base.size, *key)
        change *= np.abs(change)
        change *= np.float32(step)
        files[name].write(bf16(base + change).tobytes())

    with ThreadPoolExecutor(2) as pool:
        for t, (tensor, shape) in enumerate(shapes):
            total = int(np.prod(shape))
            for first in range(0, total, 1 << 22):
                n = min(1 << 22, total - first)
                base = normals(n, t, first, 0)
                base = 1 + base / 10 if len(shape) == 1 else base * np.float32(0.02)
                step = 1.5e-4 * (0.5 + 1.5 * ((t * 37) % 64) / 64)
                jobs = [pool.submit(write_fine_tune, name, (t, first, k), base, step)
                        for k, name in ((1, "first"), (2, "second"))]
                files["base"].write(bf16(base).tobytes())
                for job in jobs:
                    job.result()
    for file in files.values():
        file.flush()
        os.fsync(file.fileno())
        file.close()
    with open(folder / "direction.safetensors", "wb") as file:
        hidden = config["hidden_size"]
        file.write(header_bytes([("direction", "F32", [hidden])]) + normals(hidden, 1 << 20).tobytes())


def prepare(folder, size):
    """The checkpoints, unless they are there from a run with --keep."""
    config = shape_of_model(size)
    stamp = folder / "family.json"
    if not stamp.exists() or json.loads(stamp.read_text()) != config:
        apart(write_family, folder, config)
        stamp.write_text(json.dumps(config))
    return config


# ---- reading outputs ----


def tensors_in(folder):
    """name: (file, dtype, first byte, elements) of a checkpoint's tensors."""
    found = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            found[name] = (path, entry["dtype"], 8 + length + entry["data_offsets"][0], int(np.prod(entry["shape"])))
    return found


def bits_of(tensor, first=0, count=-1):
    path, dtype, at, elements = tensor
    kind = {"BF16": np.dtype("<u2"), "F16": np.dtype("<u2"), "F32": np.dtype("<u4")}[dtype]
    count = elements - first if count < 0 else min(count, elements - first)
    return np.fromfile(path, kind, count, offset=at + first * kind.itemsize)


def ordered(bits):
    """Integers that count representable values; both zeros are 0."""
    sign = 1 << (8 * bits.dtype.itemsize - 1)
    magnitude = (bits & (sign - 1)).astype(np.int64)
    return np.where(bits & sign, -magnitude, magnitude)


def differences(left, right):
    """Elements, those with other bits, those of another value, those more than one unit in the last place apart."""
    left, right = tensors_in(left), tensors_in(right)
    if left.keys() != right.keys():
        raise ValueError(f"other tensors: {sorted(left.keys() ^ right.keys())[:3]} …")
    counts = {"elements": 0, "bits": 0, "values": 0, "beyond_one_ulp": 0}
    for name, tensor in left.items():
        if tensor[1] != right[name][1]:
            raise ValueError(f"{name}: {tensor[1]} and {right[name][1]}")
        for first in range(0, tensor[3], 1 << 22):
            a, b = (bits_of(side, first, 1 << 22) for side in (tensor, right[name]))
            other = np.flatnonzero(a != b)
            apart_by = np.abs(ordered(a[other]) - ordered(b[other]))
            counts["elements"] += a.size
            counts["bits"] += other.size
            counts["values"] += int(np.count_nonzero(apart_by))
            counts["beyond_one_ulp"] += int(np.count_nonzero(apart_by > 1))
    return counts


# ---- weighted sums, known exactly ----


def exact_weights(merge):
    """checkpoint: its weight in the sum that the method is, as a fraction; None if it is not one."""
    weights = {name: Fraction(p["weight"]) for name, p in merge.models.items() if "weight" in p}
    if merge.method == "linear":
        return {name: weight / sum(weights.values()) for name, weight in weights.items()}
    if merge.method == "task_arithmetic":
        return {"base": 1 - sum(weights.values()), **weights}
    if merge.method == "passthrough":
        return {"first": Fraction(merge.models["first"]["scale"])}
    alpha = Fraction(merge.whole.get("alpha", 0))
    return {"weighted_sum": {"first": 1 - alpha, "second": alpha},
            "add_difference": {"first": Fraction(1), "second": alpha, "base": -alpha}}.get(merge.method)


def to_bf16(values):
    """f64 rounded once to the nearest bfloat16, as f64. For normal numbers of bfloat16, and zero."""
    bits = values.view(np.uint64)
    drop = np.uint64(52 - 7)
    half = (np.uint64(1) << (drop - np.uint64(1))) - np.uint64(1)
    return ((bits + half + ((bits >> drop) & np.uint64(1))) >> drop << drop).view(np.float64)


def nearest(value):
    """A fraction rounded to bfloat16; of two as near, the one with the even mantissa."""
    around = to_bf16(float(value) * np.array([1 - 2.0**-8, 1, 1 + 2.0**-8]))  # half a unit down, up
    odd = around.view(np.uint64) >> np.uint64(45) & np.uint64(1)
    return min(zip(around, odd), key=lambda each: (abs(Fraction(each[0]) - value), each[1]))[0]


def wrong_sums(folder, out, weights):
    """Sampled elements of a weighted sum: how many, how many that f64 could not decide, how many are wrong."""
    inputs = {name: tensors_in(folder / name) for name in weights}
    outputs = tensors_in(out)
    checked = undecided = wrong = 0
    for k, (name, tensor) in enumerate(sorted(outputs.items())):
        first = (k * 7919 * 1024) % max(1, tensor[3] - 8192)
        operands = {m: (bits_of(t[name], first, 8192).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
                    for m, t in inputs.items()}
        result = (bits_of(tensor, first, 8192).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        products = [float(weights[m]) * x for m, x in operands.items()]
        value, slack = sum(products), 2.0**-48 * sum(np.abs(p) for p in products)
        low, high = to_bf16(value - slack), to_bf16(value + slack)
        wrong += int(np.count_nonzero((low == high) & (result != low)))
        for i in np.flatnonzero(low != high):
            precise = sum(weights[m] * Fraction(x[i]) for m, x in operands.items())
            wrong += result[i] != nearest(precise)
            undecided += 1
        checked += result.size
    return {"checked": checked, "undecided": undecided, "wrong": int(wrong)}


# ---- running ----


@dataclass
class Run:
    seconds: float
    user: float
    system: float
    rss: float  # MiB


def apart(function, *arguments):
    """In a process of its own: the memory of this one would count as its children's when they start."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(function, arguments)


class Failed(Exception):
    pass


def run(command, **environment):
    with tempfile.TemporaryFile() as said:
        start = time.monotonic()
        child = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=said,
                                 env={**os.environ, **environment})
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines() or [""]
            raise Failed(f"{Path(str(command[0])).name}: status {child.returncode}: {lines[-1]}")
    return Run(seconds, usage.ru_utime, usage.ru_stime, usage.ru_maxrss / 1024)


class Bench:
    def __init__(self, asked, folder):
        self.asked, self.folder = asked, folder
        self.results, self.complaints = [], []

    def files(self, merge):
        return [self.folder / name / "model.safetensors" for name in merge.inputs()]

    def clean(self, *outputs):
        for out in outputs:
            shutil.rmtree(self.folder / out, ignore_errors=True)
        (self.folder / "floor").unlink(missing_ok=True)
        os.sync()

    def page_cache(self, files):
        """The inputs in memory, or with --cold out of it."""
        for path in files:
            with open(path, "rb", buffering=0) as file:
                if self.asked.cold:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                else:
                    while file.read(1 << 20):
                        pass

    def floors(self, files):
        first, others, out = f"'{files[0]}'", [f"'{f}'" for f in files[1:]], f"'{self.folder}/floor'"
        direct = "iflag=direct" if self.asked.cold else ""
        read = f"cat {' '.join(others)} > /dev/null & " if others else ""
        read_direct = "".join(f"dd if={f} of=/dev/null bs=8M {direct} status=none; " for f in others)
        return {
            "cp": f"{read}cp --reflink=never {first} {out} && sync {out} || exit 1; wait",
            "dd": (f"{{ {read_direct}}} & " if others else "")
            + f"dd if={first} of={out} bs=8M {direct} oflag=direct conv=fsync status=none || exit 1; wait",
        }

    def merge(self, recipe, out, arithmetic="exact"):
        threads = ["--threads", self.asked.threads] if self.asked.threads else []
        return run([self.asked.hieron, "merge", recipe, self.folder / out, "--arithmetic", arithmetic,
                    "--random-seed", SEED, "--quiet", *threads])

    def rival(self, recipe, out, **environment):
        return run([self.asked.mergekit, "-m", "mergekit.scripts.run_yaml", recipe, self.folder / out,
                    "--random-seed", SEED, "--no-copy-tokenizer"], HF_HUB_OFFLINE="1", **environment)

    def measure(self, merge):
        files, recipe = self.files(merge), self.folder / "recipe.yml"
        recipe.write_text(merge.recipe(self.folder))
        row = {"method": merge.method, "recipe": merge.recipe(Path("")), "target": merge.target,
               "bytes": sum(f.stat().st_size for f in files) + files[0].stat().st_size, "inputs": len(files)}
        self.results.append(row)
        row["floors"], row["hieron"] = self.interleaved(recipe, files)
        best = min(row["floors"], key=lambda name: median(r.seconds for r in row["floors"][name]))
        ratios = [m.seconds / f.seconds for m, f in zip(row["hieron"], row["floors"][best])]
        row |= {"floor": best, "ratio": median(ratios)}
        if weights := exact_weights(merge):
            row["sums"] = apart(wrong_sums, self.folder, self.folder / "exact", weights)
            if row["sums"]["wrong"]:
                self.complain(merge, f"{row['sums']['wrong']} of {row['sums']['checked']} sums are wrong")
        if not merge.ours:
            try:
                self.replays(merge, row, recipe, files)
            except Failed as failure:
                self.complain(merge, str(failure))
        self.clean("exact", "replay", "rival")

    def interleaved(self, recipe, files):
        floors, measured = {name: [] for name in self.floors(files)}, []
        for _ in range(self.asked.runs):
            for name, command in self.floors(files).items():
                self.clean("exact")
                self.page_cache(files)
                floors[name].append(run(["sh", "-c", command]))
            self.clean("exact")
            self.page_cache(files)
            measured.append(self.merge(recipe, "exact"))
        return floors, measured

    def replays(self, merge, row, recipe, files):
        row["replays"], made = {}, ""
        for version in self.asked.versions:
            self.clean("replay")
            self.page_cache(files)
            try:
                row["replays"][version] = self.merge(recipe, "replay", f"mergekit-{version}")
                made = version
            except Failed as failure:
                self.complain(merge, f"replay of {version}: {failure}")
        if self.asked.mergekit:
            self.clean("rival")
            self.page_cache(files)
            row["mergekit"] = self.rival(recipe, "rival")
            if made == self.asked.rival_version:
                self.compare_with_rival(merge, row, recipe)
        judged = "rival" if self.asked.mergekit else "replay"
        if self.asked.mergekit or made:
            row["rounding"] = {"judged": "mergekit" if self.asked.mergekit else f"replay of {made}",
                               **self.off_exact(merge, judged)}

    def compare_with_rival(self, merge, row, recipe):
        row["replayed"] = apart(differences, self.folder / "rival", self.folder / "replay")
        if row["replayed"]["bits"] == 0:
            return
        self.clean("rival")
        self.rival(recipe, "rival", OMP_NUM_THREADS="1")
        row["replayed_one_thread"] = apart(differences, self.folder / "rival", self.folder / "replay")
        if row["replayed_one_thread"]["bits"]:
            self.complain(merge, f"the replay differs from mergekit in {row['replayed_one_thread']['bits']} elements")

    def off_exact(self, merge, judged):
        """mergekit's elements beside the correctly rounded ones, in the type that mergekit wrote."""
        dtypes = {t[1] for t in tensors_in(self.folder / judged).values()}
        if dtypes == {"F32"}:
            self.clean("exact")
            recipe = self.folder / "recipe-f32.yml"
            recipe.write_text(merge.recipe(self.folder, "float32"))
            self.merge(recipe, "exact")
        return {"dtype": ", ".join(sorted(dtypes)), **apart(differences, self.folder / judged, self.folder / "exact")}

    def complain(self, merge, sentence):
        self.complaints.append(f"{merge.method}: {sentence}")


# ---- tables ----


def seconds(runs):
    return median(r.seconds for r in runs)


def verdict(value, target, most=True):
    met = value <= target if most else value >= target
    return f"{target:g}" if met else f"{target:g}: **missed**"


def speed_row(merge, row):
    runs, rss = row["hieron"], max(r.rss for r in row["hieron"])
    cells = [merge.method, str(row["inputs"]), f"{row['floor']} {seconds(row['floors'][row['floor']]):.2f}",
             f"{seconds(runs):.2f}", f"{median(r.user for r in runs):.2f} + {median(r.system for r in runs):.2f}",
             f"{rss:.0f}" + ("" if rss <= RSS_TARGET else ": **missed**"), f"{row['ratio']:.2f}",
             verdict(row["ratio"], merge.target) if merge.target else "–"]
    if rival := row.get("mergekit"):
        faster = rival.seconds / seconds(runs)
        cells += [f"{rival.seconds:.1f}", f"{rival.rss:.0f}", f"{faster:.1f}",
                  verdict(faster, RIVAL_TARGET, most=False) if merge.beats_rival else "–"]
    else:
        cells += ["–"] * 4
    return "| " + " | ".join(cells) + " |"


SPEED_HEAD = ("| method | inputs | floor, s | hieron, s | CPU user + system, s | RSS, MiB | ratio | target "
              "| mergekit, s | RSS, MiB | times faster | target |\n" + "|---" * 12 + "|")


def share(count, elements):
    """Of one; exact 0 and 1 are told from what only rounds to them."""
    if count in (0, elements):
        return str(int(count > 0))
    return f"1 − {1 - count / elements:.1g}" if count / elements > 0.999 else f"{count / elements:.3g}"


def replay_row(merge, row, versions):
    runs, floor = row.get("replays", {}), seconds(row["floors"][row["floor"]])
    cells = [merge.method, *(f"{runs[v].seconds:.2f} s ({runs[v].seconds / floor:.1f}), {runs[v].rss:.0f} MiB"
                             if v in runs else "–" for v in versions)]
    cells.append("–" if "replayed" not in row else
                 "; ".join(share(c["elements"] - c["bits"], c["elements"]) + said for c, said in (
                     (row["replayed"], ""), (row.get("replayed_one_thread"), " on one thread")) if c))
    cells.append("–" if "sums" not in row else f"{row['sums']['wrong']} of {row['sums']['checked']:,}")
    if found := row.get("rounding"):
        notes = [merge.unlike] * (merge.unlike != "") + [f"as {found['dtype']}"] * (found["dtype"] != "BF16")
        note = f" ({', '.join(notes)})" if notes else ""
        cells += [share(found["values"], found["elements"]) + note, share(found["beyond_one_ulp"], found["elements"]),
                  found["judged"]]
    else:
        cells += ["–"] * 3
    return "| " + " | ".join(cells) + " |"


def replay_head(versions):
    columns = ["method", *(f"replay of {v} (× floor), RSS" for v in versions),
               "mergekit's elements equal to its replay", "wrong sums, exact",
               "mergekit's elements not the rounded value", "… by more than one ulp", "judged on"]
    return "| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|"


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return (f"{time.strftime('%Y-%m-%d')}, {cpu}, {os.cpu_count()} cores, Linux {platform.release()}, "
            f"load {os.getloadavg()[0]:.1f}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hieron", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gb", type=float, default=1.9, help="size of each checkpoint")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--methods", default="", help="names, by commas; else all")
    parser.add_argument("--mergekit", default="", metavar="PYTHON", help="an interpreter that has mergekit")
    parser.add_argument("--versions", default="0.1.5", help="replays to time, by commas; empty for none")
    parser.add_argument("--threads", type=int, default=0, help="of hieron; else as it likes")
    parser.add_argument("--cold", action="store_true", help="drop the inputs from the page cache before each run")
    parser.add_argument("--keep", action="store_true", help="leave the checkpoints for another run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every run, for programs")
    asked = parser.parse_args()
    asked.hieron = asked.hieron.resolve()
    asked.versions = [v for v in asked.versions.split(",") if v]
    asked.rival_version = ""
    if asked.mergekit:
        asked.rival_version = subprocess.check_output(
            [asked.mergekit, "-c", "import importlib.metadata as m; print(m.version('mergekit'))"], text=True).strip()
        # The version that can be compared with mergekit is replayed last.
        asked.versions.sort(key=lambda v: v == asked.rival_version)
    return asked


def chosen(asked):
    names = [name for name in asked.methods.split(",") if name]
    if unknown := set(names) - {m.method for m in MERGES}:
        sys.exit(f"no such method here: {', '.join(sorted(unknown))}")
    return [m for m in MERGES if not names or m.method in names]


def write_json(asked, config, bench, head):
    if asked.json:
        asked.json.write_text(json.dumps(
            {"machine": head, "config": config, "cold": asked.cold, "mergekit": asked.rival_version,
             "complaints": bench.complaints, "results": bench.results}, default=asdict, indent=1) + "\n")


def main():
    asked = arguments()
    folder = asked.folder.resolve() / "hieron-bench-methods"
    folder.mkdir(parents=True, exist_ok=True)
    bench, merges, head = Bench(asked, folder), chosen(asked), machine()
    try:
        config = prepare(folder, asked.gb * 1e9)
        size = (folder / "base/model.safetensors").stat().st_size
        changed = apart(differences, folder / "base", folder / "first")
        print(f"{head}; {'cold' if asked.cold else 'warm'}, {asked.runs} runs, medians\n\n"
              f"Checkpoints of {size / 1e9:.2f} GB, {len(tensors_of_model(config))} tensors; a fine-tune changes "
              f"{changed['bits'] / changed['elements']:.0%} of the base's elements, "
              f"{changed['beyond_one_ulp'] / changed['elements']:.0%} by more than one unit in the last place.\n")
        if asked.mergekit:
            idle = run([asked.mergekit, "-m", "mergekit.scripts.run_yaml", "--help"])
            print(f"mergekit {asked.rival_version}; its start alone takes {idle.seconds:.1f} s.\n")
        print(SPEED_HEAD, flush=True)
        for merge in merges:
            try:
                bench.measure(merge)
                print(speed_row(merge, bench.results[-1]), flush=True)
            except Failed as failure:
                bench.complain(merge, str(failure))
                print(f"| {merge.method} | failed" + " |" * 11, flush=True)
            write_json(asked, config, bench, head)
        print("\n" + replay_head(asked.versions))
        for merge, row in zip(merges, bench.results):
            if "floor" in row:
                print(replay_row(merge, row, asked.versions))
        print(f"\nLoad at the end {os.getloadavg()[0]:.1f}; above the number of cores, seconds and ratios say little.")
    finally:
        for path in folder.iterdir():
            if not (asked.keep and path.name in ("base", "first", "second", "direction.safetensors", "family.json")):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not asked.keep:
            folder.rmdir()
    for complaint in bench.complaints:
        print(complaint, file=sys.stderr)
    return 1 if bench.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
