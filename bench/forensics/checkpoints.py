"""Checkpoints as NumPy arrays, and families of them: a base, its fine-tunes, and strangers of the same shape.

A tensor is (dtype, array): BF16 as 16-bit patterns, F16 and F32 as they are. `values` and `stored` turn it into
float64 and back, with one rounding to nearest, ties to even.
"""

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
GOLDEN = DATA / "golden"
sys.path[:0] = [str(GOLDEN), str(ROOT / "bench")]
from derive import load, save, to_bf16, to_f32  # noqa: E402
from merge_methods import to_bf16 as nearest_bf16  # noqa: E402

LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")

# Families of the project's own test data: folder, base.
OWN = {"textgenrnn": (DATA / "textgenrnn", "base-bf16"), "textgenrnn-f32": (DATA / "textgenrnn", "base"),
       "moe": (DATA / "moe", "base"), "dense5": (None, "base"), "moe5": (None, "base")}


class Refused(Exception):
    """A sentence for the person at the terminal."""


def read(folder):
    """{name: tensor} of a folder's safetensors files."""
    tensors = {}
    for path in weight_files(folder):
        try:
            tensors.update(load(path))
        except KeyError as dtype:
            raise Refused(f"{path}: holds tensors of dtype {dtype}; BF16, F16 and F32 are computed with") from None
    return tensors


def weight_files(folder):
    return sorted(Path(folder).glob("*.safetensors"))


def write(folder, tensors, config=None):
    """A checkpoint of one file; `config` is a folder whose config.json it gets."""
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / "model.safetensors", tensors)
    if config and (config / "config.json").exists():
        (folder / "config.json").write_bytes((config / "config.json").read_bytes())


def values(tensor):
    dtype, array = tensor
    return (to_f32(array) if dtype == "BF16" else array).astype(np.float64)


def stored(numbers, dtype):
    if dtype == "BF16":
        return dtype, to_bf16(nearest_bf16(np.ascontiguousarray(numbers, np.float64)).astype(np.float32))
    with np.errstate(over="ignore"):
        return dtype, np.ascontiguousarray(numbers, {"F16": np.float16, "F32": np.float32}[dtype])


def bits(tensor):
    dtype, array = tensor
    return np.ascontiguousarray(array).reshape(-1).view(np.uint32 if dtype == "F32" else np.uint16)


def digest(folder):
    """SHA-256 of what a checkpoint's weight files hold."""
    sha = hashlib.sha256()
    for path in weight_files(folder):
        sha.update(path.read_bytes())
    return sha.hexdigest()


@dataclass
class Family:
    name: str
    folder: Path
    base: str
    tunes: list = field(default_factory=list)      # fine-tunes of the base
    strangers: list = field(default_factory=list)  # same shapes, no kinship
    left_out: dict = field(default_factory=dict)   # name: why

    def path(self, name):
        return self.folder / name

    @lru_cache(maxsize=None)  # noqa: B019  families live as long as the program
    def tensors(self, name):
        return read(self.path(name))

    @cached_property
    def layers(self):
        found = [int(m[1]) for name in self.tensors(self.base) if (m := LAYER.search(name))]
        return max(found) + 1 if found else 0

    @cached_property
    def config(self):
        path = self.path(self.base) / "config.json"
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def dtype(self):
        """Of most of the base's elements."""
        sizes = {}
        for dtype, array in self.tensors(self.base).values():
            sizes[dtype] = sizes.get(dtype, 0) + array.size
        return max(sizes, key=sizes.get)

    @cached_property
    def experts(self):
        return any(".experts." in name for name in self.tensors(self.base))

    def change(self, name, tensor):
        """What a fine-tune changed in a tensor of the base."""
        return values(self.tensors(name)[tensor]) - values(self.tensors(self.base)[tensor])

    def __hash__(self):
        return hash((self.name, self.folder))


def relative_change(family, name):
    """|x − b|² over |b|², matrices only. Fine-tunes stay well below 1; unrelated models have about 2."""
    change = size = 0.0
    for tensor, entry in family.tensors(family.base).items():
        if entry[1].ndim >= 2:
            change += float(np.sum(family.change(name, tensor) ** 2))
            size += float(np.sum(values(entry) ** 2))
    return change / size if size else 0.0


def shapes(tensors):
    return {name: (dtype, array.shape) for name, (dtype, array) in tensors.items()}


def equal_share(left, right):
    total = equal = 0
    for name, entry in left.items():
        total += entry[1].size
        equal += int(np.count_nonzero(bits(entry) == bits(right[name])))
    return equal / total if total else 0.0


def informative_share(suspect, made, parents):
    """Bit-equal elements of `made`, among those of the suspect where the parents differ; all, where they do not fit."""
    equal = total = 0
    for name, entry in suspect.items():
        counted = differing([p.get(name) for p in parents], entry[1].size)
        total += int(np.count_nonzero(counted))
        if name in made and made[name][0] == entry[0] and made[name][1].size == entry[1].size:
            equal += int(np.count_nonzero((bits(made[name]) == bits(entry)) & counted))
    return equal / total if total else 0.0


def differing(entries, size):
    if len(entries) < 2 or any(e is None or e[1].size != size or e[0] != entries[0][0] for e in entries):
        return np.ones(size, bool)
    first, *others = (bits(entry) for entry in entries)
    return np.any([other != first for other in others], axis=0)


def open_family(word, scratch):
    """`word`: a name of OWN, or FOLDER or FOLDER:BASE with a folder for each model. `scratch`: for derived families."""
    if word in OWN:
        folder, base = OWN[word]
        return sorted_out(Family(word, folder or derived(scratch) / word, base))
    folder, _, base = word.partition(":")
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise Refused(f"{folder}: is no folder; give one with a folder for each model, or one of {', '.join(OWN)}")
    return sorted_out(Family(folder.name, folder, base or "base"))


def derived(scratch):
    """The dense and the pure mixture-of-experts family that the golden recipes read, made by their own script."""
    made = scratch / "derived"
    if not made.exists():
        scratch.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, GOLDEN / "derive.py", scratch], check=True, stdout=subprocess.DEVNULL)
    return made


def sorted_out(family):
    """Each folder beside the base: fine-tune, stranger, or left out with a reason."""
    if not weight_files(family.path(family.base)):
        raise Refused(f"{family.path(family.base)}: holds no safetensors file; name the base's folder: FOLDER:BASE")
    wanted = shapes(family.tensors(family.base))
    for folder in sorted(family.folder.iterdir()):
        name = folder.name
        if name == family.base or not folder.is_dir() or not weight_files(folder):
            continue
        if shapes(family.tensors(name)) != wanted:
            family.left_out[name] = "other tensors, shapes or dtypes than the base"
        elif twin := next((t for t in [family.base, *family.tunes]
                           if equal_share(family.tensors(t), family.tensors(name)) > 0.9), None):
            family.left_out[name] = f"nearly a copy of {twin}"
        elif relative_change(family, name) > 1:
            family.strangers.append(name)
        else:
            family.tunes.append(name)
    if len(family.tunes) < 2:
        raise Refused(f"{family.folder}: has {len(family.tunes)} fine-tunes of {family.base}, and merges need 2")
    return family
