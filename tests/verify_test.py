#!/usr/bin/env python3
"""What fits instead of what was declared: `hieron verify` on merges made by another recipe than the one shown.

usage: verify_test.py HIERON TEST_DATA SCHEMAS
"""

import json
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

HIERON, DATA, SCHEMAS = (Path(a).resolve() for a in sys.argv[1:4])
FAMILY = DATA / "textgenrnn"
NEWS, BASE, LEGAL = (FAMILY / f"{name}-bf16" for name in ("hacker_news", "base", "reddit_legaladvice"))


def hieron(*arguments):
    return subprocess.run([HIERON, *map(str, arguments)], capture_output=True, text=True, timeout=300)


def recipe_text(method, models, base=None, parameters=None, **more):
    return json.dumps({"merge_method": method, "dtype": "bfloat16",
                       "models": [{"model": str(m), "parameters": p} for m, p in models],
                       **({"base_model": str(base)} if base else {}),
                       **({"parameters": parameters} if parameters else {}), **more}, indent=1)


def write_safetensors(path, tensors):
    """tensors: {name: (dtype, array)}; arrays hold the raw words."""
    header, at, blobs = {}, 0, []
    for name, (dtype, array) in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        blobs.append(raw)
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def to_bf16(array):
    """One rounding, to nearest even, of numbers that are not tiny: raw words."""
    fraction, exponent = np.frexp(np.asarray(array, np.float64))
    rounded = np.ldexp(np.rint(fraction * 256) / 256, exponent).astype(np.float32)
    return (rounded.view(np.uint32) >> 16).astype(np.uint16)


def from_bf16(words):
    return (words.astype(np.uint32) << 16).view(np.float32)


class Fits(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="hieron-verify-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def made(self, text, *flags):
        recipe, out = self.folder / "made.yml", self.folder / "made"
        recipe.write_text(text)
        shutil.rmtree(out, ignore_errors=True)
        done = hieron("merge", recipe, out, *flags)
        self.assertEqual(done.returncode, 0, done.stderr)
        return out

    def verify(self, what, *more, status=1):
        done = hieron("verify", what, *more, "--json", self.folder / "answer.json")
        self.assertEqual(done.returncode, status, done.stderr + done.stdout)
        answer = json.loads((self.folder / "answer.json").read_text())
        self.follows_its_schema(answer)
        return answer, done.stdout

    def follows_its_schema(self, answer):
        try:
            import jsonschema
        except ImportError:
            return
        jsonschema.validate(answer, json.loads((SCHEMAS / "verify.schema.json").read_text()))

    def declared(self, text):
        path = self.folder / "declared.yml"
        path.write_text(text)
        return path

    def told(self, answer):
        return {d["what"]: (d["declared"], d["found"]) for d in answer["fits"]["differences"]}

    def fitted(self, declared, suspect, *more):
        """The differences; and the recipe found is proven by another run."""
        answer, _ = self.verify(self.declared(declared), suspect, *more)
        self.assertIsNotNone(answer["fits"], answer["search"])
        self.assertEqual(answer["fits"]["equal"], answer["fits"]["elements"])
        found = self.folder / "found.yml"
        found.write_text(answer["fits"]["recipe"])
        self.verify(found, suspect, status=0)
        return self.told(answer)

    def test_another_weight(self):
        suspect = self.made(recipe_text("linear", [(NEWS, {"weight": 0.6}), (BASE, {"weight": 0.4})]))
        told = self.fitted(recipe_text("linear", [(NEWS, {"weight": 0.5}), (BASE, {"weight": 0.5})]), suspect)
        self.assertEqual(told, {f"weight of {NEWS}": ("0.5", "0.6"), f"weight of {BASE}": ("0.5", "0.4")})

    def test_another_density(self):
        def ties(density):
            return recipe_text("ties", [(NEWS, {"weight": 0.6, "density": density}),
                                        (LEGAL, {"weight": 0.4, "density": density})], BASE)
        told = self.fitted(ties(0.5), self.made(ties(0.53)))
        self.assertEqual(told, {f"density of {NEWS}": ("0.5", "0.53"), f"density of {LEGAL}": ("0.5", "0.53")})

    def test_another_arithmetic(self):
        text = recipe_text("linear", [(NEWS, {"weight": 0.6}), (BASE, {"weight": 0.4})])
        told = self.fitted(text, self.made(text, "--arithmetic", "mergekit-0.1.4"))
        self.assertEqual(told, {"arithmetic": ("none", "mergekit-0.1.4")})

    def test_another_order_of_inputs(self):
        models = [(NEWS, {"weight": 0.6}), (BASE, {"weight": 0.4})]
        suspect = self.made(recipe_text("linear", models), "--arithmetic", "bf16-delta")
        other = recipe_text("linear", models[::-1])
        told = self.fitted(other, suspect, "--arithmetic", "bf16-delta")
        self.assertEqual(list(told), ["order"])

    def test_another_method(self):
        models = [(NEWS, {"weight": 0.6}), (BASE, {"weight": 0.4})]
        suspect = self.made(recipe_text("linear", models))
        told = self.fitted(recipe_text("ties", [(NEWS, {"weight": 0.6, "density": 0.5})], BASE), suspect)
        self.assertEqual(told["method"][0], "ties")
        self.assertIn(told["method"][1], ("linear", "task_arithmetic"))

    def test_a_parent_that_took_no_part(self):
        suspect = self.made(recipe_text("linear", [(NEWS, {"weight": 0.6}), (BASE, {"weight": 0.4})]))
        declared = [(NEWS, {"weight": 0.6}), (BASE, {"weight": 0.4}), (LEGAL, {"weight": 0.4})]
        told = self.fitted(recipe_text("linear", declared), suspect)
        self.assertEqual(told["parent"], (str(LEGAL), "none"))

    def test_a_misspelt_key_that_was_ignored(self):
        models = [(NEWS, {"weight": 0.6}), (LEGAL, {"weight": 0.4})]
        suspect = self.made(recipe_text("sce", models, BASE, {"select_topk": 1.0}))
        declared = recipe_text("sce", models, BASE, {"select_topkk": 0.5})
        answer, text = self.verify(self.declared(declared), suspect)
        self.assertIn("declared select_topkk was ignored because it was misspelt", text)
        self.assertEqual(self.told(answer)["select_topkk"][1], "ignored")

    def test_a_misspelt_key_that_was_meant(self):
        models = [(NEWS, {"weight": 0.6}), (LEGAL, {"weight": 0.4})]
        suspect = self.made(recipe_text("sce", models, BASE, {"select_topk": 0.5}))
        declared = recipe_text("sce", models, BASE, {"select_topkk": 0.5})
        answer, _ = self.verify(self.declared(declared), suspect)
        self.assertEqual(self.told(answer)["select_topkk"][1], "select_topk")

    def test_a_recipe_that_is_refused_and_fits_nothing_stays_refused(self):
        declared = recipe_text("linear", [(NEWS, {"weigth": 0.6}), (BASE, {"weight": 0.4})])
        self.assertEqual(hieron("verify", self.declared(declared), LEGAL).returncode, 3)

    def test_nothing_fits_a_model_that_was_not_made_of_them(self):
        declared = recipe_text("linear", [(NEWS, {"weight": 0.6}), (BASE, {"weight": 0.4})])
        answer, text = self.verify(self.declared(declared), LEGAL)
        self.assertIsNone(answer["fits"])
        self.assertIn("No other recipe of its models was found that gives these bytes", text)
        self.assertLess(answer["search"]["best_share"], 0.9)

    def test_without_a_search_nothing_is_searched(self):
        declared = recipe_text("linear", [(NEWS, {"weight": 0.6}), (BASE, {"weight": 0.4})])
        answer, text = self.verify(self.declared(declared), LEGAL, "--no-search")
        self.assertIsNone(answer["fits"])
        self.assertIsNone(answer["search"])
        self.assertNotIn("No other recipe", text)

    # ---- adapters

    def adapted(self, scale, modules=("a", "b"), rank=4, arithmetic="exact"):
        """A base and an adapter of lora_alpha 8; the base with scale · B·A, to some modules, rounded once."""
        rng = np.random.default_rng(3)
        base, adapter, merged = {}, {}, {}
        for name in ("a", "b"):
            words = to_bf16(rng.normal(size=(48, 64)) * 0.05)
            low, high = rng.normal(size=(rank, 64)) * 0.1, rng.normal(size=(48, rank)) * 0.1
            low, high = low.astype(np.float32), high.astype(np.float32)
            base[f"model.{name}.weight"] = ("BF16", words)
            adapter[f"base_model.model.model.{name}.lora_A.weight"] = ("F32", low)
            adapter[f"base_model.model.model.{name}.lora_B.weight"] = ("F32", high)
            change = scale * (high.astype(np.float64) @ low.astype(np.float64))
            total = from_bf16(words).astype(np.float64) + change
            merged[f"model.{name}.weight"] = ("BF16", to_bf16(total) if name in modules else words)
        write_safetensors(self.folder / "base" / "model.safetensors", base)
        write_safetensors(self.folder / "adapter" / "adapter_model.safetensors", adapter)
        (self.folder / "adapter" / "adapter_config.json").write_text(json.dumps(
            {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": ["a", "b"]}))
        write_safetensors(self.folder / "merged" / "model.safetensors", merged)
        return self.folder / "adapter", self.folder / "merged", "--base", self.folder / "base"

    def test_an_adapter_as_declared(self):
        self.verify(*self.adapted(8 / 4), status=0)

    def test_an_adapter_with_another_alpha(self):
        answer, text = self.verify(*self.adapted(6 / 4))
        self.assertEqual(self.told(answer), {"scaling": ("2", "1.5")})
        self.assertIn("lora_alpha 6", text)

    def test_an_adapter_by_the_root_of_its_rank(self):
        answer, _ = self.verify(*self.adapted(8 / 2))
        self.assertEqual(self.told(answer), {"use_rslora": ("false", "true")})

    def test_an_adapter_of_which_one_module_was_merged(self):
        answer, text = self.verify(*self.adapted(8 / 4, modules=("b",)))
        self.assertEqual(self.told(answer), {"modules": ("2 tensors", "1 tensors")})
        self.assertIn("without model.a.weight", text)

    def test_an_adapter_that_was_not_merged(self):
        answer, text = self.verify(*self.adapted(8 / 4, modules=()))
        self.assertEqual(self.told(answer)["modules"][1], "0 tensors")
        self.assertIn("none of its modules is merged", text)

    def test_an_adapter_on_another_model(self):
        adapter, _, flag, base = self.adapted(8 / 4)
        rng = np.random.default_rng(9)
        write_safetensors(self.folder / "other" / "model.safetensors", {
            f"model.{n}.weight": ("BF16", to_bf16(rng.normal(size=(48, 64)) * 0.05)) for n in "ab"})
        answer, text = self.verify(adapter, self.folder / "other", flag, base)
        self.assertIsNone(answer["fits"])
        self.assertIn("No other way of adding it was found", text)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
