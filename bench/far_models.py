#!/usr/bin/env python3
"""What an audit of three models of hundreds of billions of parameters fetches from a hub.

usage: far_models.py HIERON [MODEL...]     models of tests/data/hub/patterns.tsv; default: the two largest kinds

The tensor names and shapes are those of the public model; the weights are made up when they are asked for: a base,
two fine-tunes of it, and the suspect, .6 of one and .4 of the other in single precision, rounded once. The suspect is
audited against the fine-tunes; the verdict must be exact-merge. A second suspect is a third fine-tune: it must be
cleared. Prints requests and bytes as the server counts them, processor time and memory of the program.
"""

import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np

from made_up import bell, bf16, blend, made_up_shard

from fake_hub import FakeHub, FileOnDisk  # made_up has put their folder into the path
from public_models import patterns, tensors

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "tests", "data")
SHARD = 8_500_000_000


def weights(model, shard, first, count):
    def tuned(key):
        base = np.float32(0.02) * bell(shard * 7919 + 1, first, count)
        return bf16(base + np.float32(0.0005) * bell(shard * 7919 + key, first, count))

    if model == "suspect":
        return blend(tuned(2), tuned(3))
    return tuned({"a": 2, "b": 3, "innocent": 4}[model])


SENT = [0]  # bytes of weight files


def made_up(model, number, header, size):
    file = made_up_shard(f"{model}/{number}", header, size, lambda first, count: weights(model, number, first, count))
    read = file.read

    def counted(offset, count):
        out = read(offset, count)
        SENT[0] += len(out)
        return out

    file.read = counted
    return file


def shards(rows):
    """[(header, bytes of weights)], [(tensor, shard)], and the number of parameters."""
    files, placed, header, offset = [], [], {}, 0

    def close():
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        files.append((struct.pack("<Q", len(text)) + text, offset))

    for name, shape in tensors(rows):
        size = 2 * int(np.prod(shape, dtype=object))
        if header and offset + size > SHARD:
            close()
            header, offset = {}, 0
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        placed.append((name, len(files)))
        offset += size
    close()
    return files, placed


def publish(hub, folder, kind):
    architecture, rows = patterns(DATA, kind)
    files, placed = shards(rows)
    total = sum(size for _, size in files)

    def name(i):
        return f"model-{i + 1:05}-of-{len(files):05}.safetensors"

    index = {"metadata": {"total_size": total}, "weight_map": {tensor: name(i) for tensor, i in placed}}
    small = {"config.json": {"architectures": [architecture]}, "model.safetensors.index.json": index}
    for file, value in small.items():
        with open(os.path.join(folder, file), "w") as f:
            json.dump(value, f)
    for model in ("a", "b", "suspect", "innocent"):
        published = {file: FileOnDisk(os.path.join(folder, file)) for file in small}
        for i, (header, size) in enumerate(files):
            published[name(i)] = made_up(model, i, header, size)
        hub.add(f"far/{model}", files=published)
    return len(placed), total


def audit(program, hub, suspect):
    before = len(hub.requests)
    with tempfile.TemporaryDirectory() as home:
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.time()
        done = subprocess.run(
            [program, "audit", f"far/{suspect}", "--parent", "far/a", "--base", "far/b", "--json", "-", "--seed", "1"],
            env=os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": home},
            capture_output=True,
        )
        wall = time.time() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if not done.stdout:
        raise SystemExit(done.stderr.decode())
    result = json.loads(done.stdout)
    cpu = after.ru_utime + after.ru_stime - spent.ru_utime - spent.ru_stime
    return result, len(hub.requests) - before, wall, cpu, after.ru_maxrss / 1024


def main():
    program = os.path.abspath(sys.argv[1])
    for kind in sys.argv[2:] or ["Qwen/Qwen3.5-397B-A17B", "moonshotai/Kimi-K2-Instruct"]:
        with tempfile.TemporaryDirectory() as folder, FakeHub() as hub:
            count, total = publish(hub, folder, kind)
            print(f"{kind}: {count:,} tensors, {total / 1e9:,.0f} GB a model")
            for suspect, expected in (("suspect", "exact-merge"), ("innocent", None)):
                sent = SENT[0]
                result, requests, wall, cpu, memory = audit(program, hub, suspect)
                kind_found = result["verdict"]["kind"]
                depth = result["depth"] or {}
                print(
                    f"  {suspect}: {kind_found}, {(SENT[0] - sent) / 1e6:,.1f} MB in {requests:,} requests, "
                    f"{depth.get('informative_16', 0):,} elements informative at 16, {wall:.1f} s, "
                    f"{cpu:.1f} s of processor, {memory:.0f} MiB"
                )
                wrong = kind_found != expected if expected else kind_found in ("exact-merge", "merge-with-changes")
                if wrong:
                    raise SystemExit(result["verdict"]["sentence"])


if __name__ == "__main__":
    main()
