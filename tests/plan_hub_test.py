#!/usr/bin/env python3
"""`hieron plan` on models of hundreds of billions of parameters: their real tensor names and shapes, no weights.

usage: plan_hub_test.py HIERON TEST_DATA

The shards are sparse files: a header, and a size. Whoever reads a weight reads zeros, so that a plan that needed
any would say so.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest

from public_models import patterns, tensors

HIERON, DATA = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "docs", "schema", "plan.schema.json")
SHARD = 50_000_000_000


def write_shard(path, entries):
    header, offset = {}, 0
    for name, shape in entries:
        elements = 1
        for extent in shape:
            elements *= extent
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + 2 * elements]}
        offset += 2 * elements
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + offset)


def write_model(folder, model):
    """The number of its tensors, and their bytes."""
    architecture, rows = patterns(DATA, model)
    shards, bytes_in_last = [[]], 0
    total = 0
    for name, shape in tensors(rows):
        size = 2
        for extent in shape:
            size *= extent
        if shards[-1] and bytes_in_last + size > SHARD:
            shards.append([])
            bytes_in_last = 0
        shards[-1].append((name, shape))
        bytes_in_last += size
        total += size
    os.makedirs(folder)
    weight_map = {}
    for s, entries in enumerate(shards, 1):
        file = f"model-{s:05}-of-{len(shards):05}.safetensors"
        write_shard(os.path.join(folder, file), entries)
        weight_map |= {name: file for name, _ in entries}
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, f)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump({"architectures": [architecture], "torch_dtype": "bfloat16"}, f)
    return len(weight_map), total


class Hub(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="hieron-hub-")
        self.addCleanup(self.scratch.cleanup)

    def plan(self, recipe, *arguments):
        path = os.path.join(self.scratch.name, "recipe.yml")
        with open(path, "w") as f:
            f.write(recipe)
        out = os.path.join(self.scratch.name, "plan.json")
        ran = subprocess.run([HIERON, "plan", path, "--json", out, *arguments], capture_output=True, text=True)
        with open(out) as f:
            return ran, json.load(f)

    def two_of(self, model):
        count, total = [write_model(os.path.join(self.scratch.name, name), model) for name in "ab"][0]
        return count, total

    def assert_merged_whole(self, model, recipe):
        count, total = self.two_of(model)
        ran, plan = self.plan(recipe)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        self.assertEqual(len(plan["tensors"]), count)
        self.assertEqual(plan["needs"]["bytes_read"], 2 * total)
        self.assertGreater(plan["needs"]["bytes_written"], total)
        self.assertLess(plan["needs"]["bytes_written"], total + 64_000_000)
        self.assertEqual(plan["needs"]["bytes_held"], 0)
        return ran, plan

    LINEAR = ("merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 0.6}}\n"
              "- {model: b, parameters: {weight: 0.4}}\n")

    def test_a_model_of_397_billion_parameters(self):
        ran, plan = self.assert_merged_whole("Qwen/Qwen3.5-397B-A17B", self.LINEAR)
        # A fused expert tensor of 8.6 GB has a shard of its own.
        largest = max(plan["shards"], key=lambda shard: shard["bytes"])
        self.assertEqual((largest["tensors"], largest["bytes"] // 10**8), (1, 85))
        self.assertRegex(ran.stdout, r"\ntime +\d+ min: computing ")

    def test_its_plan_follows_the_schema(self):
        try:
            import jsonschema
        except ImportError:
            self.skipTest("jsonschema is not there")
        _, plan = self.assert_merged_whole("Qwen/Qwen3.5-397B-A17B", self.LINEAR)
        with open(SCHEMA) as f:
            jsonschema.validate(plan, json.load(f))

    def test_a_dense_model_of_405_billion_parameters_in_two_passes(self):
        _, plan = self.assert_merged_whole(
            "meta-llama/Meta-Llama-3.1-405B",
            "merge_method: ties\nbase_model: a\nmodels:\n- {model: b, parameters: {weight: 1, density: 0.5}}\n")
        self.assertGreater(plan["needs"]["bytes_passed"], plan["needs"]["bytes_read"])

    def test_a_replay_says_what_it_must_hold(self):
        self.two_of("Qwen/Qwen3.5-397B-A17B")
        ran, plan = self.plan(
            "merge_method: ties\nbase_model: a\nmodels:\n- {model: b, parameters: {weight: 1, density: 0.5}}\n",
            "--arithmetic", "mergekit-0.1.5")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertRegex(plan["needs"]["held_by"], r"experts\.gate_up_proj$")
        self.assertGreater(plan["needs"]["bytes_held"], 8_000_000_000)
        self.assertIn("GB for", ran.stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
