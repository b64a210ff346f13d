#!/usr/bin/env python3
"""Cross-checks our safetensors against the official Python package; skipped (exit 77) where it is absent.

    tests/oracle_safetensors.py HIERON     HIERON is the built program

1. Every file of tests/data/hostile that the package refuses, `hieron inspect` refuses, and every file that
   we accept, the package opens.
2. Files of many dtypes and names that the package writes, we read.
3. Every header that the unit tests' writer left in HIERON_WRITTEN (a folder, optional) is opened by it.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy
    from safetensors import safe_open
    from safetensors.numpy import save_file
except ImportError:
    print("skipped: the Python packages safetensors and numpy are not installed")
    sys.exit(77)

HOSTILE = Path(__file__).parent / "data" / "hostile"

# What the official reader lets pass and we refuse, each by a rule of the specification that it does not
# enforce (its parser keeps the last of duplicate names, skips unknown keys, and trims any white space).
STRICTER = {
    "key-unknown", "leading-space", "metadata-null", "metadata-twice", "name-empty", "name-nul",
    "padding-newline", "tensor-twice", "tensor-twice-escaped",
}


def package_opens(path):
    try:
        with safe_open(path, framework="numpy") as file:
            list(file.keys())
        return True
    except Exception:
        return False


def we_open(program, path):
    run = subprocess.run([program, "inspect", path], capture_output=True, text=True)
    if run.returncode not in (0, 3, 4):
        sys.exit(f"{path}: exit status {run.returncode}\n{run.stderr}")
    return run.returncode == 0


def check(path, theirs, ours):
    if ours and not theirs:
        return f"{path}: we accept what the package refuses"
    if theirs and not ours and path.stem not in STRICTER:
        return f"{path}: we refuse what the package accepts"
    return None


def written_by_the_package(folder):
    tensors = {"a": numpy.ones((2, 3), numpy.float32), "b.é名🦙": numpy.zeros((), numpy.float16),
               "c\n\"\\": numpy.zeros((0, 4), numpy.int64), "d": numpy.ones(7, numpy.uint8)}
    path = folder / "written.safetensors"
    save_file(tensors, path, metadata={"format": "np", "é": "\n\"\\"})
    return path


def main(program):
    problems, count = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        paths = sorted(HOSTILE.glob("*.safetensors")) + [written_by_the_package(Path(scratch))]
        written = os.environ.get("HIERON_WRITTEN")
        ours = sorted(Path(written).glob("*.safetensors")) if written else []
        for path in paths:
            problems.append(check(path, package_opens(path), we_open(program, path)))
            count += 1
        for path in ours:
            problems.append(None if package_opens(path) else f"{path}: the package refuses what we wrote")
            count += 1
    problems = [problem for problem in problems if problem]
    print(f"{count} files, {len(problems)} disagreements", *problems, sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) if len(sys.argv) == 2 else __doc__)
