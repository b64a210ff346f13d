#!/usr/bin/env python3
"""Writes the small hostile and broken files that every reader of weights should survive.

    tests/make_hostile.py tests/data/hostile      the files, and expected.tsv: file, verdict, words of the sentence
    tests/make_hostile.py --many FOLDER           140,000 tensors in 100 shards (headers real, data sparse)

Standard library only; the output depends on nothing but this script.
"""

import json
import struct
import sys
from pathlib import Path


def entry(dtype="I32", shape=(4,), begin=0, end=16, **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}


def file(header, data=b"", length=None):
    """A safetensors file; `header` is a dict, or the exact bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def index(weight_map, **more):
    return json.dumps({"weight_map": weight_map, **more}).encode()


ONE = {"a": entry()}
DATA = bytes(range(16))
TEXT = json.dumps(ONE, separators=(",", ":")).encode()

# name: (bytes, words that the refusal says; None where the file is good)
SAFETENSORS = {
    "good": (file(ONE, DATA), None),
    "good-scalar": (file({"a": entry("F32", (), 0, 4)}, DATA[:4]), None),
    "good-zero-size": (file({"a": entry("F32", (2, 0), 0, 0)}), None),
    "good-no-tensors": (file({}), None),
    "good-padded": (file(TEXT + b" " * 100, DATA), None),
    "good-metadata": (file({"__metadata__": {"format": "pt"}, **ONE}, DATA), None),
    "good-bidi-name": (file({"a\u202eb": entry()}, DATA), None),
    "empty": (b"", "has 0 bytes"),
    "no-header": (b"\x02\0\0\0", "has 4 bytes"),
    "length-huge": (file(ONE, DATA, 2**63), "at most 100,000,000"),
    "length-overflows": (file(ONE, DATA, 2**64 - 8), "at most 100,000,000"),
    "length-past-end": (file(ONE, DATA, 10_000), "the file has"),
    "length-short": (file(ONE, DATA, 20), "only spaces may follow"),
    "truncated": (file(ONE, DATA[:9]), "probably incomplete"),
    "trailing-bytes": (file(ONE, DATA + b"polyglot"), "8 bytes after its last tensor"),
    "trailing-without-tensors": (file({}, b"polyglot"), "8 bytes after its last tensor"),
    "hole-first": (file({"a": entry(begin=4, end=20)}, DATA + b"1234"), "belong to no tensor"),
    "hole-between": (file({"a": entry(), "b": entry(begin=17, end=33)}, DATA * 2 + b"1"), "belong to no tensor"),
    "overlap": (file({"a": entry(), "b": entry(begin=8, end=24)}, DATA + b"12345678"), "inside tensor"),
    "same-extent-twice": (file({"a": entry(), "b": entry()}, DATA), "inside tensor"),
    "offsets-reversed": (file({"a": entry(begin=16, end=0)}, DATA), "its data_offsets are 16 to 0"),
    "offsets-too-short": (file({"a": entry(end=12)}, DATA[:12]), "needs 16 bytes"),
    "offsets-negative": (file({"a": entry(begin=-16, end=0)}, DATA), "not two non-negative integers"),
    "offsets-three": (file({"a": {**entry(), "data_offsets": [0, 8, 16]}}, DATA), "not two non-negative integers"),
    "shape-overflows": (file({"a": entry(shape=(2, 2**64 - 2))}, DATA), "overflows"),
    "shape-wraps-to-right-size": (file({"a": entry(shape=(2**62 + 4,))}, DATA), "overflows"),
    "shape-beyond-64-bits": (file({"a": entry(shape=(2**64,))}, DATA), "above 64 bits"),
    "shape-negative": (file({"a": entry(shape=(-2, -2))}, DATA), "non-negative integers"),
    "shape-fraction": (file({"a": entry(shape=(4.0,))}, DATA), "non-negative integers"),
    "shape-minus-zero": (file(TEXT.replace(b"[0,16]", b"[-0,16]"), DATA), "negative number"),
    "half-a-byte": (file({"a": entry("F4", (3,), 0, 2)}, DATA[:2]), "whole number of bytes"),
    "dtype-unknown": (file({"a": entry("F42")}, DATA), "unknown dtype"),
    "dtype-missing": (file({"a": {"shape": [4], "data_offsets": [0, 16]}}, DATA), "has no dtype"),
    "key-unknown": (file({"a": entry(strides=[1])}, DATA), "unknown key"),
    "tensor-twice": (file(TEXT[:-1] + b"," + TEXT[1:], DATA), "twice"),
    "tensor-twice-escaped": (file(TEXT[:-1] + b"," + TEXT[1:].replace(b"a", b"\\u0061", 1), DATA), "twice"),
    "dtype-twice": (file(TEXT.replace(b"{\"dtype\"", b"{\"dtype\":\"F32\",\"dtype\""), DATA), "two values"),
    "metadata-twice": (file(b'{"__metadata__":{"k":"1","k":"2"}}'), "twice"),
    "metadata-number": (file({"__metadata__": {"k": 1}}), "not a string"),
    "metadata-null": (file({"__metadata__": None}), "not a JSON object"),
    "not-json": (file(b"{not json}"), "not valid JSON"),
    "second-object": (file(b"{}{}"), "not valid JSON"),
    "leading-space": (file(b" " + TEXT, DATA), "does not begin"),
    "array": (file(b"[]"), "does not begin"),
    "padding-nul": (file(TEXT + b"\0\0", DATA), "only spaces may follow"),
    "padding-newline": (file(TEXT + b"\n", DATA), "only spaces may follow"),
    "utf8-invalid": (file(TEXT.replace(b'"a"', b'"\xff"'), DATA), "not valid UTF-8"),
    "utf8-overlong": (file(TEXT.replace(b'"a"', b'"\xc0\xaf"'), DATA), "not valid UTF-8"),
    "lone-surrogate": (file(TEXT.replace(b'"a"', b'"\\ud800"'), DATA), "not valid JSON"),
    "deep": (file(b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"), "nested more than"),
    "name-empty": (file({"": entry()}, DATA), "name is empty"),
    "name-nul": (file({"a\0b": entry()}, DATA), "NUL"),
    "lfs-pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
    "web-page": (b"<!DOCTYPE html><html><title>401</title></html>", "web page"),
    "pickle": (b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01u.", "pickle"),
    "zip": (b"PK\x03\x04\x14\0\0\0\0\0archive/data.pkl", "PyTorch"),
}

INDEX = {
    "good": (index({"a": "model-00001-of-00001.safetensors"}, metadata={"total_size": 16}), None),
    "parent-folder": (index({"a": "../x.safetensors"}), "not a plain file name"),
    "parent-folder-escaped": (b'{"weight_map":{"a":"\\u002e\\u002e\\u002fx"}}', "not a plain file name"),
    "absolute": (index({"a": "/etc/passwd"}), "not a plain file name"),
    "backslash": (index({"a": "..\\x.safetensors"}), "not a plain file name"),
    "subfolder": (index({"a": "b/x.safetensors"}), "not a plain file name"),
    "shard-empty": (index({"a": ""}), "not a plain file name"),
    "shard-nul": (index({"a": "x\0.safetensors"}), "not a plain file name"),
    "shard-control": (index({"a": "x\x1b[2J"}), "not a plain file name"),
    "shard-number": (index({"a": 1}), "not a string"),
    "tensor-twice": (b'{"weight_map":{"a":"x","a":"y"}}', "twice"),
    "map-twice": (b'{"weight_map":{},"weight_map":{}}', "twice"),
    "map-missing": (b"{}", "weight_map"),
    "map-list": (b'{"weight_map":[]}', "not a JSON object"),
    "array": (b"[]", "not a JSON object"),
    "not-json": (b"{weight_map}", "not valid JSON"),
    "trailing": (b'{"weight_map":{}}{}', "not valid JSON"),
    "utf8-invalid": (b'{"weight_map":{"\xff":"x"}}', "not valid UTF-8"),
    "deep": (b'{"x":' + b"[" * 200 + b"]" * 200 + b"}", "nested more than"),
    "empty": (b"", "not valid JSON"),
}


def write_small(folder):
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for cases, suffix in ((SAFETENSORS, ".safetensors"), (INDEX, ".index.json")):
        for name, (data, words) in cases.items():
            (folder / (name + suffix)).write_bytes(data)
            rows.append(f"{name}{suffix}\t{'refused' if words else 'accepted'}\t{words or ''}\n")
    (folder / "expected.tsv").write_text("".join(rows))


def write_many(folder, tensors=140_000, shards=100):
    folder.mkdir(parents=True, exist_ok=True)
    weight_map = {}
    per_shard = tensors // shards
    for shard in range(shards):
        name = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        header = {}
        for i in range(per_shard):
            tensor = f"model.layers.{shard}.mlp.experts.{i}.down_proj.weight"
            header[tensor] = entry("BF16", (64, 16), i * 2048, (i + 1) * 2048)
            weight_map[tensor] = name
        with open(folder / name, "wb") as out:
            out.write(file(header))
            out.truncate(out.tell() + per_shard * 2048)
    (folder / "model.safetensors.index.json").write_bytes(
        index(weight_map, metadata={"total_size": tensors * 2048}))


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "--many":
        write_many(Path(arguments[1]))
    elif len(arguments) == 1:
        write_small(Path(arguments[0]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
