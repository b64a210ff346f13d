"""The program as a user runs it: the demo's two acts, exit statuses, reports, bad input. Standard library only.

    audit_test.py HIERON DATA SCHEMAS
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
FAMILY = DATA / "textgenrnn"
PARENT, BASE = FAMILY / "hacker_news-bf16", FAMILY / "base-bf16"
CONTROLS = [FAMILY / f"reddit_{name}-bf16" for name in ("rarepuppers", "apple_android", "legaladvice")]


def hieron(*args, stdin=None):
    return subprocess.run([HIERON, *map(str, args)], capture_output=True, text=True, timeout=300, input=stdin)


def safetensors(path, tensors, header=None):
    """tensors: {name: (dtype, shape, bytes)}; header: replaces the header's text."""
    entries, at, data = {}, 0, b""
    for name, (dtype, shape, raw) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        data += raw
    text = (json.dumps(entries) if header is None else header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def tensors_of(path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8:8 + length])
    header.pop("__metadata__", None)
    return {n: (t["dtype"], t["shape"], raw[8 + length:][slice(*t["data_offsets"])]) for n, t in header.items()}


class Audit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="hieron-audit-test-"))
        recipe = cls.folder / "recipe.yml"
        recipe.write_text(
            "merge_method: linear\nmodels:\n"
            f"  - {{model: '{PARENT}', parameters: {{weight: 0.6}}}}\n"
            f"  - {{model: '{BASE}', parameters: {{weight: 0.4}}}}\ndtype: bfloat16\n")
        cls.suspect = cls.folder / "suspect"
        done = hieron("merge", recipe, cls.suspect)
        assert done.returncode == 0, done.stderr
        cls.recipe = recipe

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def audit(self, suspect, *more, controls=CONTROLS, parent=PARENT, base=BASE):
        out = self.folder / "report.json"
        given = [x for c in controls for x in ("--control", c)]
        based = ["--base", base] if base else []
        done = hieron("audit", suspect, "--parent", parent, *based, *given, "--json", out, *more)
        return done, (json.loads(out.read_text()) if done.returncode in (0, 1) else None)

    def refused(self, done, status, *words):
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    # --- the two acts of the demo ---

    def test_a_merge_is_found_and_its_recipe_proves_it(self):
        html, recipe = self.folder / "r.html", self.folder / "recovered.yml"
        done, report = self.audit(self.suspect, "--expect", "exact-merge", "--html", html, "--recipe", recipe)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("exact-merge", done.stdout)
        self.assertIn("What would prove it wrong", done.stdout)
        self.assertEqual(report["verdict"]["kind"], "exact-merge")
        self.assertAlmostEqual(report["depth"]["alpha"], 0.6, places=6)
        self.assertEqual(report["replay"]["equal"], report["replay"]["elements"])
        self.assertNotIn("<script", html.read_text())
        verified = hieron("verify", recipe, self.suspect)
        self.assertEqual(verified.returncode, 0, verified.stderr + verified.stdout)
        again = self.folder / "again"
        self.assertEqual(hieron("merge", recipe, again).returncode, 0)
        self.assertEqual((again / "model.safetensors").read_bytes(), (self.suspect / "model.safetensors").read_bytes())

    def test_an_innocent_is_cleared(self):
        done, report = self.audit(CONTROLS[0], "--expect", "fine-tune,independent,undetermined",
                                  controls=CONTROLS[1:])
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(report["verdict"]["kind"], "fine-tune")
        self.assertIsNone(report["recipe"])

    # --- two uploads ---

    def trained_on(self, name, share):
        """The suspect with a share of another fine-tune's training on top."""
        recipe, out = self.folder / f"{name}.yml", self.folder / name
        recipe.write_text(
            "merge_method: linear\nparameters: {normalize: false}\nmodels:\n"
            f"  - {{model: '{self.suspect}', parameters: {{weight: 1}}}}\n"
            f"  - {{model: '{CONTROLS[0]}', parameters: {{weight: {share}}}}}\n"
            f"  - {{model: '{BASE}', parameters: {{weight: {-share}}}}}\ndtype: bfloat16\n")
        done = hieron("merge", recipe, out)
        self.assertEqual(done.returncode, 0, done.stderr)
        return out

    def test_the_same_files_again_carry_no_training(self):
        again = self.folder / "uploaded-again"
        shutil.copytree(self.suspect, again)
        done, report = self.audit(self.suspect, "--also", again, "--expect", "exact-merge")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(report["also"]["kind"], "identical")
        self.assertEqual(report["also"]["changed"], 0)
        self.assertEqual(report["also"]["model"]["ref"], str(again))
        self.assertIn("carries no training", done.stdout)

    def test_training_in_a_second_upload_is_measured_in_full_and_on_a_sample(self):
        second, html = self.trained_on("second", 0.5), self.folder / "second.html"
        kinds, counts = [], []
        for more in ([], ["--sample", "16KiB", "--seed", "5"]):
            done, report = self.audit(self.suspect, "--also", second, "--html", html, *more, controls=CONTROLS[1:])
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(report["verdict"]["kind"], "exact-merge")
            kinds.append(report["also"]["kind"])
            counts.append(report["also"]["elements"])
            training = report["also"]["training"]
            self.assertEqual([y["role"] for y in training["yardsticks"]], ["control", "control"])
            self.assertGreater(training["ratio"], 0.1)
            self.assertGreater(training["outside"], 0.5)
            self.assertIn("The second upload", html.read_text())
            self.assertIn("--also", html.read_text())
            check = subprocess.run(["/usr/bin/python3", Path(__file__).with_name("validate_json.py"),
                                    SCHEMAS / "audit.schema.json", self.folder / "report.json"],
                                   capture_output=True, text=True)
            self.assertEqual(check.returncode, 0, check.stdout + check.stderr)
        self.assertEqual(kinds, ["trained", "trained"])
        self.assertGreater(counts[0], counts[1])

    def test_a_second_upload_that_is_not_there_is_one_line(self):
        done, _ = self.audit(self.suspect, "--also", self.folder / "nowhere")
        self.refused(done, 4, "nowhere")

    # --- which of many ---

    def pool(self, name, members):
        path = self.folder / name
        path.write_text("# the family\n" + "".join(f"{m}\n" for m in members))
        return path

    def from_pool(self, suspect, members, *more):
        out = self.folder / "report.json"
        done = hieron("audit", suspect, "--pool", self.pool("pool.txt", members), *more, "--json", out)
        return done, (json.loads(out.read_text()) if done.returncode in (0, 1) else None)

    def test_the_parents_are_found_in_a_pool(self):
        damaged = self.folder / "damaged.safetensors"
        damaged.write_bytes(b"not a checkpoint")
        done, report = self.from_pool(self.suspect, [*CONTROLS, PARENT, BASE, damaged, self.suspect])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(report["verdict"]["kind"], "exact-merge", report["verdict"]["sentence"])
        self.assertEqual(sorted(report["verdict"]["of"]), sorted([str(PARENT), str(BASE)]))
        pool = {member["ref"]: member for member in report["pool"]["members"]}
        self.assertEqual(report["pool"]["looked_at"], 7)
        self.assertEqual({r for r, m in pool.items() if m["state"] == "parent"}, {str(PARENT), str(BASE)})
        self.assertEqual({r for r, m in pool.items() if m["state"] == "control"}, set(map(str, CONTROLS)))
        self.assertIn("cannot be read", pool[str(damaged)]["reason"])
        self.assertEqual(pool[str(self.suspect)]["reason"], "the suspect itself")
        self.assertTrue(any("7 checkpoints of the pool were looked at" in w for w in report["warnings"]))
        try:
            import jsonschema
        except ImportError:
            return
        jsonschema.validate(report, json.loads((SCHEMAS / "audit.schema.json").read_text()))

    def test_a_pool_without_the_parents_accuses_nobody(self):
        done, report = self.from_pool(CONTROLS[0], [*CONTROLS, PARENT, BASE])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIsNone(report["recipe"])
        self.assertIn(report["verdict"]["kind"], ("fine-tune", "independent", "undetermined"))

    def test_a_pool_that_is_none(self):
        empty = self.folder / "empty-pool"
        empty.mkdir()
        self.refused(hieron("audit", self.suspect, "--pool", empty), 2, "holds no checkpoints")
        self.refused(hieron("audit", self.suspect, "--pool", self.folder / "absent"), 2, "no folder or file")
        self.refused(hieron("audit", self.suspect, "--pool", PARENT / "model.safetensors"), 2, "no list")
        many = self.pool("many.txt", [PARENT] * 101)
        self.refused(hieron("audit", self.suspect, "--pool", many), 2, "101 checkpoints", "at most 100")
        alone = self.pool("alone.txt", [self.suspect])
        self.refused(hieron("audit", self.suspect, "--pool", alone), 3, "only the suspect is there")

    def test_a_pruned_model_is_an_edit_of_that_model(self):
        made = {}
        for name, (dtype, shape, raw) in tensors_of(PARENT / "model.safetensors").items():
            numbers = list(struct.unpack(f"<{len(raw) // 2}H", raw)) if dtype == "BF16" else []
            if len(shape) == 2 and numbers:  # bf16 without its sign is ordered like its size
                limit = sorted(n & 0x7FFF for n in numbers)[len(numbers) * 3 // 10]
                raw = struct.pack(f"<{len(numbers)}H", *(n if n & 0x7FFF >= limit else 0 for n in numbers))
            made[name] = dtype, shape, raw
        suspect = safetensors(self.folder / "pruned" / "model.safetensors", made).parent
        done, report = self.audit(suspect, "--expect", "edit")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("set to zero", done.stdout)
        self.assertEqual(report["verdict"]["of"], [str(PARENT)])
        self.assertEqual(report["edit"]["kind"], "pruned")
        self.assertAlmostEqual(report["edit"]["strength"], 0.3, delta=0.02)
        self.assertEqual(report["replay"]["equal"], report["replay"]["elements"])
        check = subprocess.run(["/usr/bin/python3", Path(__file__).with_name("validate_json.py"),
                                SCHEMAS / "audit.schema.json", self.folder / "report.json"],
                               capture_output=True, text=True)
        self.assertEqual(check.returncode, 0, check.stdout + check.stderr)

    def test_an_expectation_that_is_not_met_is_status_1(self):
        done, _ = self.audit(self.suspect, "--expect", "copy,fine-tune")
        self.assertEqual(done.returncode, 1)

    def test_a_merge_that_was_never_written_can_be_audited(self):
        done, report = self.audit(self.recipe)
        self.assertEqual(report["verdict"]["kind"], "exact-merge", done.stderr)

    def test_the_report_follows_its_schema(self):
        for suspect in (self.suspect, CONTROLS[0], PARENT):
            self.audit(suspect)
            check = subprocess.run(["/usr/bin/python3", Path(__file__).with_name("validate_json.py"),
                                    SCHEMAS / "audit.schema.json", self.folder / "report.json"],
                                   capture_output=True, text=True)
            self.assertEqual(check.returncode, 0, check.stdout + check.stderr)

    def test_the_report_does_not_depend_on_threads_or_memory(self):
        reports = []
        for more in (("--threads", 1), ("--threads", 5), ("--memory", "2MiB"), ()):
            _, report = self.audit(self.suspect, "--seed", "ab12", *more)
            report.pop("seconds")
            reports.append(report)
        for other in reports[1:]:
            self.assertEqual(reports[0], other)

    def test_a_sample_reads_less_and_says_so(self):
        done, report = self.audit(self.suspect, "--sample", "8KiB")
        self.assertEqual(report["verdict"]["kind"], "exact-merge", done.stderr)
        self.assertEqual(report["sampling"]["mode"], "sample")
        self.assertLess(report["sampling"]["bytes_read"], report["sampling"]["bytes_total"] / 2)

    def test_hashes_name_the_bytes(self):
        import hashlib
        _, report = self.audit(self.suspect, "--hash")
        wanted = hashlib.sha256((self.suspect / "model.safetensors").read_bytes()).hexdigest()
        self.assertEqual(report["suspect"]["files"][0]["sha256"], wanted)

    # --- other commands ---

    def test_diff_tells_equal_from_changed(self):
        same = hieron("diff", self.suspect, self.recipe)
        self.assertEqual(same.returncode, 0, same.stderr)
        changed = hieron("diff", PARENT, BASE, "--json", "-")
        self.assertEqual(changed.returncode, 1)
        self.assertFalse(json.loads(changed.stdout)["identical"])

    def test_inspect_names_roles(self):
        done = hieron("inspect", PARENT)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("recurrent", done.stdout)

    # --- the command line ---

    def test_wrong_command_lines_are_status_2(self):
        self.refused(hieron("audit"), 2)
        self.refused(hieron("audit", self.suspect), 2, "--parent")
        self.refused(hieron("audit", self.suspect, "--parent", PARENT, "--expect", "guilty"), 2, "guilty")
        self.refused(hieron("frobnicate"), 2)

    def test_help_answers_with_an_example(self):
        for command in ("audit", "merge", "plan", "diff", "inspect", "verify", "methods"):
            done = hieron(command, "--help")
            self.assertEqual(done.returncode, 0, command)
            self.assertIn("xample", done.stdout, command)

    # --- bad input ---

    def test_missing_models_are_status_4(self):
        self.refused(hieron("audit", self.folder / "nowhere", "--parent", PARENT), 4, "nowhere")

    def test_a_folder_without_weights_is_refused(self):
        empty = self.folder / "empty"
        empty.mkdir(exist_ok=True)
        self.refused(hieron("inspect", empty), 3, "empty")

    def test_a_truncated_file_is_refused_with_its_numbers(self):
        whole = (self.suspect / "model.safetensors").read_bytes()
        cut = self.folder / "cut.safetensors"
        cut.write_bytes(whole[:-100])
        self.refused(hieron("audit", cut, "--parent", PARENT, "--base", BASE), 3, "cut.safetensors")

    def test_trailing_bytes_are_refused(self):
        longer = self.folder / "longer.safetensors"
        longer.write_bytes((self.suspect / "model.safetensors").read_bytes() + b"PK\x03\x04")
        self.refused(hieron("inspect", longer), 3, "longer.safetensors")

    def test_an_index_that_points_outside_is_refused(self):
        for shard in ("../model.safetensors", "/etc/passwd", "missing.safetensors"):
            index = self.folder / "hostile" / "model.safetensors.index.json"
            index.parent.mkdir(exist_ok=True)
            index.write_text(json.dumps({"metadata": {}, "weight_map": {"a": shard}}))
            self.refused(hieron("inspect", index.parent), 3)

    def test_a_symlink_loop_is_one_sentence(self):
        loop = self.folder / "loop.safetensors"
        if not loop.is_symlink():
            loop.symlink_to(loop)
        self.refused(hieron("inspect", loop), 4, "loop.safetensors")

    def test_hostile_names_cannot_reach_the_terminal_or_the_page(self):
        evil = ["<script>alert(1)</script>", "\x1b[31mred\u202e"]
        tensors = tensors_of(PARENT / "model.safetensors")
        models = []
        for name, values in (("s", self.suspect), ("p", PARENT), ("q", BASE)):
            source = tensors_of(values / "model.safetensors")
            mapped = {}
            for original, entry in source.items():
                position = list(tensors).index(original)
                mapped[evil[position] if position < len(evil) else original] = entry
            models.append(safetensors(self.folder / name / "model.safetensors", mapped).parent)
        html = self.folder / "evil.html"
        done = hieron("audit", models[0], "--parent", models[1], "--base", models[2], "--html", html)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("\x1b", done.stdout)
        self.assertNotIn("\u202e", done.stdout)
        self.assertNotIn("<script", html.read_text())

    def test_models_with_nothing_in_common_are_refused(self):
        stranger = safetensors(self.folder / "stranger.safetensors", {"x": ("F32", [2], b"\0" * 8)})
        self.refused(hieron("audit", self.suspect, "--parent", stranger), 3, "in common")

    def test_tensors_that_do_not_fit_are_skipped_and_said(self):
        tensors = tensors_of(self.suspect / "model.safetensors")
        tensors["extra.head"] = ("BF16", [4, 4], b"\x80\x3f" * 16)
        tensors["empty"] = ("F32", [0, 7], b"")
        tensors["step"] = ("I64", [], struct.pack("<q", 7))
        extended = safetensors(self.folder / "extended" / "model.safetensors", tensors)
        done, report = self.audit(extended.parent)
        self.assertEqual(report["verdict"]["kind"], "exact-merge", done.stderr)
        self.assertIn("extra.head", {s["tensor"] for s in report["skipped"]})

    def test_a_damaged_config_does_not_stop_an_audit(self):
        damaged = self.folder / "damaged"
        shutil.copytree(self.suspect, damaged, dirs_exist_ok=True)
        (damaged / "config.json").write_text("{ not json")
        done, report = self.audit(damaged)
        self.assertEqual(report["verdict"]["kind"], "exact-merge", done.stderr)
        self.assertTrue(report["warnings"])

    def test_an_output_that_cannot_be_written_is_status_4(self):
        done = hieron("audit", self.suspect, "--parent", PARENT, "--base", BASE, "--html", "/nonexistent/r.html")
        self.refused(done, 4, "/nonexistent")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
