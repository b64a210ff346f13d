"""Weights that are worked out when they are asked for: of any element of models of any size, nothing is stored."""

import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "tests"))
from fake_hub import MadeUpFile  # noqa: E402


def words(key, first, count):
    """SplitMix64 of the elements' numbers."""
    with np.errstate(over="ignore"):
        x = np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def bell(key, first, count):
    """About normal, with deviation one: the sum of four 16-bit numbers. float32."""
    w = words(key, first, count)
    parts = [((w >> np.uint64(s)) & np.uint64(0xFFFF)).astype(np.float32) for s in (0, 16, 32, 48)]
    return (sum(parts) / np.float32(65536) - np.float32(2)).astype(np.float32) * np.float32(1.7320508)


def bf16(values):
    """The bits of float32 values, rounded to nearest even."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def widened(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def blend(a, b):
    """.6 of one and .4 of the other in single precision, rounded once."""
    return bf16(np.float32(0.6) * widened(a) + np.float32(0.4) * widened(b))


def made_up_shard(name, header, weight_bytes, elements):
    """A safetensors file of 16-bit elements of which only the header is held. elements(first, count): their bits."""
    total = len(header) + weight_bytes

    def read(offset, count):
        end = min(offset + count, total)
        out = header[offset:end]
        at = offset + len(out)
        if at < end:
            begin = at - len(header)
            first, last = begin // 2, (end - len(header) + 1) // 2
            data = elements(first, last - first).tobytes()
            out += data[begin % 2 : begin % 2 + end - at]
        return out

    return MadeUpFile(total, read, name)
