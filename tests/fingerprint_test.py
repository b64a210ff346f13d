"""Fingerprints as a user makes and audits them, and how they can be gamed. Standard library only.

    fingerprint_test.py HIERON DATA SCHEMAS
"""

import json
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HIERON, DATA, SCHEMAS = (Path(a).resolve() for a in sys.argv[1:4])
TEXT, MOE = DATA / "textgenrnn", DATA / "moe"
PARENT, BASE = TEXT / "hacker_news-bf16", TEXT / "base-bf16"
CONTROLS = [TEXT / f"reddit_{name}-bf16" for name in ("rarepuppers", "apple_android", "legaladvice")]


def hieron(*args):
    return subprocess.run([HIERON, *map(str, args)], capture_output=True, text=True, timeout=300)


def read(path):
    """({name: (dtype, shape, bytes)}, metadata) of a safetensors file, as any reader sees it."""
    raw = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length])
    metadata = header.pop("__metadata__", {})
    return {n: (t["dtype"], t["shape"], raw[8 + length:][slice(*t["data_offsets"])]) for n, t in header.items()}, metadata


def write(path, tensors, metadata=None):
    entries, at, data = {}, 0, b""
    if metadata:
        entries["__metadata__"] = metadata
    for name, (dtype, shape, raw) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        data += raw
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def copy_configs(source, target):
    for file in source.glob("*.json"):
        shutil.copy(file, target)


def parts_of(name, dtype, shape, raw):
    """The experts of one fused tensor under the names that separate ones have."""
    block = name[: name.rindex(".")]
    experts, rows, columns = shape
    halves = ["gate_proj", "up_proj"] if name.endswith("gate_up_proj") else ["down_proj"]
    size = len(raw) // experts // len(halves)
    for e in range(experts):
        for k, half in enumerate(halves):
            begin = (e * len(halves) + k) * size
            yield f"{block}.{e}.{half}.weight", (dtype, [rows // len(halves), columns], raw[begin:begin + size])


def fused(tensors):
    """The same model with its experts fused, as transformers 5 stores them."""
    out, blocks = {}, {}
    for name, tensor in tensors.items():
        block, _, rest = name.partition(".experts.")
        if rest:
            number, leaf, _ = rest.split(".")
            blocks.setdefault(block, {})[int(number), leaf] = tensor
        else:
            out[name] = tensor
    for block, experts in blocks.items():
        count = 1 + max(e for e, _ in experts)
        dtype, (rows, columns), _ = experts[0, "gate_proj"]
        up = b"".join(experts[e, half][2] for e in range(count) for half in ("gate_proj", "up_proj"))
        down = b"".join(experts[e, "down_proj"][2] for e in range(count))
        out[block + ".experts.gate_up_proj"] = (dtype, [count, 2 * rows, columns], up)
        out[block + ".experts.down_proj"] = (dtype, [count, columns, rows], down)
    return out


def public_positions(fingerprint):
    """{canonical name: [(first, count)]}, from the file's own list."""
    _, metadata = read(fingerprint)
    return {name: entry["runs"] for name, entry in json.loads(metadata["hieron.tensors"]).items()}


def graft(into, donor, positions):
    """`into` with the donor's bytes at those positions of its tensors (16-bit elements, canonical names but for
    a prefix)."""
    out = {}
    for name, (dtype, shape, raw) in into.items():
        changed = bytearray(raw)
        for first, count in positions.get(name.removeprefix("model."), []):
            changed[2 * first:2 * (first + count)] = donor[name][2][2 * first:2 * (first + count)]
        out[name] = (dtype, shape, bytes(changed))
    return out


class Fingerprints(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="hieron-fingerprint-test-"))
        cls.suspect = cls.merge("suspect", {PARENT: 0.6, BASE: 0.4})
        cls.moe = cls.merge("moe", {MOE / "code": 0.7, MOE / "base": 0.3})

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def merge(cls, name, weights):
        models = "".join(f"  - {{model: '{m}', parameters: {{weight: {w}}}}}\n" for m, w in weights.items())
        recipe = cls.folder / f"{name}.yml"
        recipe.write_text(f"merge_method: linear\nmodels:\n{models}dtype: bfloat16\n")
        done = hieron("merge", recipe, cls.folder / name)
        assert done.returncode == 0, done.stderr
        return cls.folder / name

    def fingerprint(self, model, *more):
        out = self.folder / f"{Path(model).name}.fp.safetensors"
        done = hieron("fingerprint", model, "-o", out, "--quiet", *more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return out

    def audit(self, suspect, parents, base, controls=(), *more):
        out = self.folder / "report.json"
        given = [x for p in parents for x in ("--parent", p)] + [x for c in controls for x in ("--control", c)]
        done = hieron("audit", suspect, *given, "--base", base, "--json", out, "--quiet", *more)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return json.loads(out.read_text())

    def says_so(self, report):
        self.assertEqual(report["sampling"]["mode"], "fingerprint")
        self.assertIn("public positions", report["verdict"]["sentence"])
        self.assertTrue(any("tampered with" in w for w in report["warnings"]))

    def refused(self, done, status, *words):
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    # --- the file ---

    def test_the_file_is_plain_safetensors_and_holds_the_models_own_bits(self):
        model, _ = read(MOE / "base" / "model.safetensors")
        tensors, metadata = read(self.fingerprint(MOE / "base"))
        self.assertEqual(metadata["format"], "hieron.fingerprint/1")
        listed = json.loads(metadata["hieron.tensors"])
        self.assertEqual(set(listed), set(tensors))
        for name, (dtype, shape, raw) in tensors.items():
            own = next(t for n, t in model.items() if n.removeprefix("model.") == name)
            runs = listed[name]["runs"]
            self.assertEqual(listed[name]["shape"], own[1])
            self.assertEqual((dtype, shape), (own[0], [sum(count for _, count in runs)]))
            self.assertEqual(raw, b"".join(own[2][2 * f:2 * (f + c)] for f, c in runs))

    def test_it_is_small_and_says_nothing_of_this_machine(self):
        for model in (BASE, MOE / "base"):
            raw = self.fingerprint(model).read_bytes()
            self.assertLess(len(raw), 320_000)
            self.assertNotIn(str(model.parent).encode(), raw)
            self.assertNotIn(str(self.folder).encode(), raw)
            _, metadata = read(self.fingerprint(model))
            source = json.loads(metadata["hieron.source"])
            self.assertEqual(source["name"], model.name)
            self.assertEqual(source["files"][0]["path"], "model.safetensors")

    def test_hashes_of_the_model_are_kept_where_asked_for(self):
        import hashlib
        _, metadata = read(self.fingerprint(BASE, "--hash"))
        expected = hashlib.sha256((BASE / "model.safetensors").read_bytes()).hexdigest()
        self.assertEqual(json.loads(metadata["hieron.source"])["files"][0]["sha256"], expected)

    def test_every_group_of_roles_is_in_it(self):
        out = self.folder / "groups.fp.safetensors"
        done = hieron("fingerprint", MOE / "base", "-o", out, "--json", "-")
        report = json.loads(done.stdout)
        groups = {g["group"]: g["elements"] for g in report["groups"]}
        self.assertEqual(set(groups), {"attention", "embedding", "experts", "head", "mlp", "norm", "router"})
        for group in ("attention", "embedding", "experts", "head", "mlp"):
            self.assertGreaterEqual(groups[group], 16_384)
        self.assertEqual(report["bytes"], out.stat().st_size)

    def test_a_size_is_kept_or_refused(self):
        out = self.folder / "size.fp.safetensors"
        done = hieron("fingerprint", MOE / "base", "-o", out, "--size", "600kB")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertLessEqual(out.stat().st_size, 600_000)
        self.assertGreater(out.stat().st_size, 400_000)
        self.refused(hieron("fingerprint", MOE / "base", "-o", out, "--size", "10kB"), 2, "at least")

    def test_layouts_do_not_matter(self):
        tensors, _ = read(MOE / "base" / "model.safetensors")
        plain = self.fingerprint(MOE / "base").read_bytes()
        shapes = {
            "fused": [fused(tensors)],
            "prefix": [{"language_model." + n: t for n, t in tensors.items()}],
            "shards": [dict(list(tensors.items())[100:]), dict(list(tensors.items())[:100])],
            "fused-prefix": [{"model.language_model." + n.removeprefix("model."): t for n, t in fused(tensors).items()}],
        }
        for name, shards in shapes.items():
            folder = self.folder / name
            for i, shard in enumerate(shards, 1):
                write(folder / f"model-{i:05}-of-{len(shards):05}.safetensors", shard)
            copy_configs(MOE / "base", folder)
            other = self.fingerprint(folder).read_bytes()
            (length,) = struct.unpack("<Q", plain[:8])
            (length_of_other,) = struct.unpack("<Q", other[:8])
            self.assertEqual(plain[8 + length:], other[8 + length_of_other:], name)
            same, listed = read(self.fingerprint(folder))
            self.assertEqual(list(same), list(read(self.fingerprint(MOE / "base"))[0]), name)
            self.assertEqual(listed["hieron.tensors"],
                             read(self.fingerprint(MOE / "base"))[1]["hieron.tensors"], name)

    # --- it is a checkpoint to every command ---

    def test_a_merge_is_found_in_fingerprints_alone(self):
        suspect, parent, base = map(self.fingerprint, (self.suspect, PARENT, BASE))
        whole = self.audit(self.suspect, [PARENT], BASE, CONTROLS)
        small = self.audit(suspect, [parent], base, list(map(self.fingerprint, CONTROLS)))
        self.assertEqual(whole["verdict"]["kind"], "exact-merge")
        self.assertEqual(small["verdict"]["kind"], "exact-merge")
        self.assertAlmostEqual(small["depth"]["alpha"], whole["depth"]["alpha"], delta=2e-3)
        self.assertEqual(small["recipe"]["models"][0]["weight"], 0.6)
        self.assertEqual(small["recipe"]["arithmetic"], whole["recipe"]["arithmetic"])
        self.says_so(small)
        for control in small["depth"]["controls"]:
            self.assertTrue(control["d16"] < 0.3)

    def test_models_and_fingerprints_mix(self):
        suspect, parent, base = map(self.fingerprint, (self.suspect, PARENT, BASE))
        for models in ((suspect, PARENT, BASE), (self.suspect, parent, base), (self.suspect, PARENT, base)):
            report = self.audit(models[0], [models[1]], models[2], CONTROLS)
            self.assertEqual(report["verdict"]["kind"], "exact-merge")
            self.assertEqual(report["recipe"]["models"][0]["weight"], 0.6)
            self.says_so(report)

    def test_a_mixture_of_experts_too_and_in_any_layout(self):
        tensors, _ = read(next(self.moe.glob("*.safetensors")))
        write(self.folder / "moe-fused" / "model.safetensors", fused(tensors))
        copy_configs(self.moe, self.folder / "moe-fused")
        controls = [MOE / "news", self.fingerprint(MOE / "scripture")]
        for suspect in (self.moe, self.folder / "moe-fused"):
            report = self.audit(self.fingerprint(suspect), [MOE / "code"], self.fingerprint(MOE / "base"), controls)
            self.assertEqual(report["verdict"]["kind"], "exact-merge")
            self.assertEqual(report["recipe"]["models"][0]["weight"], 0.7)

    def test_models_under_another_prefix_are_audited_whole(self):
        """No fingerprint: alignment by canonical names, with the replay of a recipe by name."""
        tensors, _ = read(next(self.moe.glob("*.safetensors")))
        for name, renamed in (("other-prefix", {"language_model." + n: t for n, t in tensors.items()}),
                              ("other-all", {"language_model." + n: t for n, t in fused(tensors).items()})):
            write(self.folder / name / "model.safetensors", renamed)
            copy_configs(self.moe, self.folder / name)
            report = self.audit(self.folder / name, [MOE / "code"], MOE / "base", [MOE / "news"])
            self.assertEqual(report["verdict"]["kind"], "exact-merge", name)
            self.assertEqual(report["recipe"]["models"][0]["weight"], 0.7)
            self.assertEqual(report["sampling"]["mode"], "full")
            self.assertEqual(report["replay"]["equal"], report["replay"]["elements"])
            self.assertEqual(hieron("diff", self.folder / name, self.moe).returncode, 0, name)
            self.assertEqual(hieron("diff", self.moe, self.folder / name).returncode, 0, name)

    def test_a_pool_may_be_a_folder_of_fingerprints(self):
        pool = self.folder / "pool"
        pool.mkdir()
        for model in (PARENT, *CONTROLS):
            shutil.copy(self.fingerprint(model), pool)
        for suspect in (self.suspect, self.fingerprint(self.suspect)):
            done = hieron("audit", suspect, "--pool", pool, "--base", self.fingerprint(BASE), "--json", "-")
            report = json.loads(done.stdout)
            self.assertEqual(report["verdict"]["kind"], "exact-merge")
            self.assertEqual([Path(p["ref"]).name for p in report["parents"]], ["hacker_news-bf16.fp.safetensors"])
            self.says_so(report)

    def test_sums_of_three_models_are_found(self):
        merged = self.merge("three", {PARENT: 0.5, BASE: 0.3, CONTROLS[0]: 0.2})
        report = self.audit(self.fingerprint(merged), map(self.fingerprint, (PARENT, CONTROLS[0])),
                            self.fingerprint(BASE), list(map(self.fingerprint, CONTROLS[1:])))
        self.assertEqual(report["verdict"]["kind"], "exact-merge")
        self.assertEqual(sorted(m["weight"] for m in report["recipe"]["models"]), [0.2, 0.3, 0.5])
        self.says_so(report)

    def test_a_copy_is_one_and_experts_from_elsewhere_make_it_none(self):
        copy = self.folder / "copy"
        shutil.copytree(MOE / "code", copy)
        report = self.audit(self.fingerprint(copy), [self.fingerprint(MOE / "code")], self.fingerprint(MOE / "base"))
        self.assertEqual(report["verdict"]["kind"], "copy")
        self.says_so(report)
        own, _ = read(MOE / "code" / "model.safetensors")
        other, _ = read(MOE / "independent" / "model.safetensors")
        mixed = {n: other[n] if ".experts." in n else t for n, t in own.items()}
        write(self.folder / "exchanged" / "model.safetensors", mixed)
        copy_configs(MOE / "code", self.folder / "exchanged")
        report = self.audit(self.fingerprint(self.folder / "exchanged"), [self.fingerprint(MOE / "code")],
                            self.fingerprint(MOE / "base"))
        self.assertNotEqual(report["verdict"]["kind"], "copy")

    def test_innocents_stay_innocent(self):
        for suspect, parent, base, controls in (
                (CONTROLS[0], PARENT, BASE, CONTROLS[1:]),
                (BASE, PARENT, CONTROLS[0], CONTROLS[1:]),
                (MOE / "news", MOE / "code", MOE / "base", [MOE / "scripture"]),
                (MOE / "independent", MOE / "code", MOE / "base", [MOE / "news"])):
            report = self.audit(self.fingerprint(suspect), [self.fingerprint(parent)], self.fingerprint(base),
                                list(map(self.fingerprint, controls)))
            self.assertIn(report["verdict"]["kind"], ("undetermined", "fine-tune", "independent"), suspect.name)
            self.says_so(report)

    def test_an_honest_parent_is_not_accused(self):
        """The parent, audited against its child and the base: the relation reads the other way."""
        report = self.audit(self.fingerprint(PARENT), [self.fingerprint(self.suspect)], self.fingerprint(BASE),
                            list(map(self.fingerprint, CONTROLS)))
        self.assertEqual(report["verdict"]["kind"], "undetermined")

    def test_an_honest_parent_of_a_merge_that_drops_changes_is_not_accused(self):
        recipe = self.folder / "dare.yml"
        recipe.write_text("merge_method: dare_linear\n"
                          f"base_model: '{MOE / 'base'}'\nmodels:\n"
                          f"  - {{model: '{MOE / 'code'}', parameters: {{weight: 1.0, density: 0.6}}}}\n"
                          "dtype: bfloat16\nhieron: {seed: 7}\n")
        child = self.folder / "dare"
        done = hieron("merge", recipe, child)
        self.assertEqual(done.returncode, 0, done.stderr)
        report = self.audit(self.fingerprint(MOE / "code"), [self.fingerprint(child)], self.fingerprint(MOE / "base"),
                            [self.fingerprint(MOE / "news")])
        self.assertIn(report["verdict"]["kind"], ("undetermined", "fine-tune"))

    def test_the_report_follows_its_schema(self):
        try:
            import jsonschema
        except ImportError:
            self.skipTest("no jsonschema here")
        report = self.audit(self.fingerprint(self.suspect), [self.fingerprint(PARENT)], self.fingerprint(BASE))
        jsonschema.validate(report, json.loads((SCHEMAS / "audit.schema.json").read_text()))
        done = hieron("fingerprint", BASE, "-o", self.folder / "s.fp.safetensors", "--json", "-")
        jsonschema.validate(json.loads(done.stdout), json.loads((SCHEMAS / "fingerprint.schema.json").read_text()))

    def test_inspect_and_diff_and_verify_read_it(self):
        fingerprint = self.fingerprint(MOE / "base")
        done = hieron("inspect", fingerprint)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("fingerprint", done.stdout)
        self.assertEqual(hieron("diff", fingerprint, MOE / "base").returncode, 0)
        done = hieron("diff", fingerprint, self.fingerprint(MOE / "code"), "--json", "-")
        self.assertEqual(done.returncode, 1, done.stderr)
        held, _ = read(fingerprint)
        self.assertEqual(json.loads(done.stdout)["elements"], sum(t[1][0] for t in held.values()))
        recipe = self.folder / "moe.yml"
        self.assertEqual(hieron("verify", recipe, self.fingerprint(self.moe)).returncode, 0)
        self.assertEqual(hieron("verify", recipe, fingerprint).returncode, 1)

    def test_what_needs_the_weights_refuses_it(self):
        fingerprint, out = self.fingerprint(PARENT), self.folder / "no"
        recipe = self.folder / "no.yml"
        recipe.write_text("merge_method: linear\nmodels:\n"
                          f"  - {{model: '{fingerprint}', parameters: {{weight: 0.5}}}}\n"
                          f"  - {{model: '{BASE}', parameters: {{weight: 0.5}}}}\ndtype: bfloat16\n")
        self.refused(hieron("merge", recipe, out), 3, "this is a fingerprint", "give the model itself")
        self.refused(hieron("fingerprint", fingerprint, "-o", out), 3, "a fingerprint already")
        self.refused(hieron("extract", fingerprint, "--base", BASE, "-o", out), 3, "this is a fingerprint")

    def test_a_damaged_one_is_refused(self):
        tensors, metadata = read(self.fingerprint(PARENT))
        listed = json.loads(metadata["hieron.tensors"])
        name = next(n for n in listed if len(listed[n]["runs"]) > 1)
        listed[name]["runs"][0][0] += 2048
        bad = write(self.folder / "bad.fp.safetensors", tensors,
                    metadata | {"hieron.tensors": json.dumps(listed)})
        self.refused(hieron("inspect", bad), 3, "published positions", "hieron fingerprint")
        bad = write(self.folder / "bad.fp.safetensors", tensors, metadata | {"hieron.seed": "00" * 32})
        self.refused(hieron("inspect", bad), 3, "published seed")

    # --- attacks: positions are public ---

    def test_a_merge_that_hides_at_the_public_positions(self):
        """Just the public positions are put back to the base's: the fingerprint sees the base, the file does not."""
        positions = public_positions(self.fingerprint(self.moe))
        merged, _ = read(next(self.moe.glob("*.safetensors")))
        base, _ = read(MOE / "base" / "model.safetensors")
        hidden = self.folder / "hidden"
        write(hidden / "model.safetensors", graft(merged, base, positions))
        copy_configs(self.moe, hidden)
        small = self.audit(self.fingerprint(hidden), [self.fingerprint(MOE / "code")], self.fingerprint(MOE / "base"),
                           [self.fingerprint(MOE / "news")])
        self.assertEqual((small["verdict"]["kind"], len(small["verdict"]["of"])), ("copy", 1))
        self.says_so(small)
        self.assertTrue(any("fresh seed" in f for f in small["verdict"]["falsifiers"]))
        truth = self.audit(hidden, [MOE / "code"], MOE / "base", [MOE / "news"], "--seed", "c0ffee")
        self.assertEqual(truth["verdict"]["kind"], "merge-with-changes")
        sampled = self.audit(hidden, [MOE / "code"], MOE / "base", [MOE / "news"], "--seed", "c0ffee", "--sample",
                             "16KiB")
        self.assertEqual(sampled["verdict"]["kind"], "merge-with-changes")

    def test_an_innocent_that_others_elements_were_put_into(self):
        """A merge's public positions in an innocent model: the fingerprint accuses it, the file does not."""
        positions = public_positions(self.fingerprint(self.moe))
        innocent, _ = read(MOE / "news" / "model.safetensors")
        merged, _ = read(next(self.moe.glob("*.safetensors")))
        framed = self.folder / "framed"
        write(framed / "model.safetensors", graft(innocent, merged, positions))
        copy_configs(self.moe, framed)
        given = ([self.fingerprint(MOE / "code")], self.fingerprint(MOE / "base"), [self.fingerprint(MOE / "scripture")])
        small = self.audit(self.fingerprint(framed), *given)
        self.assertEqual(small["verdict"]["kind"], "exact-merge")
        self.says_so(small)
        truth = self.audit(framed, [MOE / "code"], MOE / "base", [MOE / "scripture"], "--seed", "c0ffee")
        self.assertNotIn(truth["verdict"]["kind"], ("exact-merge", "copy", "layer-stack"))
        self.assertLess(truth["depth"]["d16"] if truth["depth"] else 0, 0.3)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
