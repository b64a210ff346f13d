"""bench/forensics on a handful of cases: sets come again from their seed, the seal holds, nobody is accused falsely.

    forensics_test.py HIERON
"""

import json
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

try:
    import numpy as np
except ImportError:
    print("skipped: NumPy makes the cases")
    sys.exit(77)

HIERON = Path(sys.argv[1]).resolve()
BENCH = Path(__file__).resolve().parents[1] / "bench" / "forensics"
sys.path.insert(0, str(BENCH))
sys.dont_write_bytecode = True
import recipes  # noqa: E402
import score  # noqa: E402
import tools  # noqa: E402
from checkpoints import open_family  # noqa: E402


def run(script, *words):
    return subprocess.run([sys.executable, BENCH / script, *map(str, words)], capture_output=True, text=True)


def made(out, *more):
    done = run("make_cases.py", "textgenrnn", out, "--seed", "8", "--hieron", HIERON, *more)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "set.json").read_text())


class ASet(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="hieron-forensics-test-"))
        cls.out = cls.folder / "set"
        cls.chosen = ("--per-track", "recipes=36,after=10,innocents=16,edits=9",
                      "--kinds", "linear,few rows,sibling,random_numbers,copy")
        cls.question = made(cls.out, *cls.chosen)
        cls.answers = json.loads((cls.out / "answers.json").read_text())["cases"]

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def test_it_comes_again_from_its_seed(self):
        again = self.folder / "again"
        self.assertEqual(made(again, *self.chosen), self.question)
        for case in self.answers:
            one, two = ((out / "cases" / case / "case.json").read_text() for out in (self.out, again))
            self.assertEqual(one, two)

    def test_questions_give_nothing_away(self):
        for folder in (self.out / "cases").iterdir():
            names = {path.name for path in (folder / "suspect").iterdir()}
            self.assertLessEqual(names, {"model.safetensors", "config.json"})
            for word in ("seed", "method", "verdict", "hacker_news"):
                self.assertNotIn(word, (folder / "case.json").read_text())

    def test_nobody_is_accused_falsely_and_the_tables_are_written(self):
        page, scores = self.folder / "confusion.md", self.folder / "scores.json"
        done = run("score.py", self.out / "answers.json", self.out, "--tool", f"hieron={HIERON}", "--baseline", "lstsq",
                   "--baseline", "nnls", "--json", scores, "--confusion", page)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        found = json.loads(scores.read_text())["scores"]
        self.assertEqual(len(found), 3 * self.question["cases"])
        ours = [s for s in found if s["tool"] == "hieron"]
        self.assertFalse([s for s in ours if s["accused"] or s["failure"]])
        self.assertTrue(all(s["points"] == 1 for s in ours if s["truth"]["track"] == "innocents"))
        self.assertIn(self.question["answers_sha256"], page.read_text())

    def test_answers_with_another_seal_are_refused(self):
        forged = self.folder / "forged.json"
        forged.write_text((self.out / "answers.json").read_text().replace('"guilty": true', '"guilty": false', 1))
        done = run("score.py", forged, self.out, "--baseline", "nnls")
        self.assertEqual(done.returncode, 1)
        self.assertIn("sealed with", done.stderr)

    def test_a_plain_program_can_be_scored(self):
        accuser = self.folder / "accuser.py"
        accuser.write_text("import json, sys\nasked = json.load(open(sys.argv[1]))\n"
                           "json.dump({'kind': 'exact-merge', 'parents': dict.fromkeys(asked['parents'])},\n"
                           "          open(sys.argv[2], 'w'))\n")
        scores = self.folder / "accuser.json"
        done = run("score.py", self.out / "answers.json", self.out, "--tool", f"accuser={sys.executable} {accuser}",
                   "--track", "innocents", "--json", scores)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(all(s["points"] == -10 for s in json.loads(scores.read_text())["scores"]))


class Recipes(unittest.TestCase):
    def test_every_method_is_drawn(self):
        listed = json.loads(subprocess.check_output([HIERON, "methods", "--json", "-"]))["methods"]
        self.assertEqual({method["name"] for method in listed}, set(recipes.METHODS))

    def test_shares_are_decimals_that_sum_to_one(self):
        import random
        family = open_family("textgenrnn", None)
        hand = recipes.Hand(random.Random(1), family, family.tunes)
        for count in (2, 3, 8):
            self.assertAlmostEqual(sum(hand.shares(count)), 1, places=12)


class Points(unittest.TestCase):
    truth = {"guilty": True, "verdicts": ["exact-merge"], "parents": ["a", "b"], "optional": ["base"],
             "track": "recipes", "method": None, "shares": {"a": 0.6, "b": 0.4}, "ratios_only": False, "base": "base"}

    def judged(self, answer, **truth):
        return score.judge("0", "t", None, answer, self.truth | truth, 0.0, None)

    def test_a_right_answer_has_one_and_a_wrong_weight_less(self):
        self.assertEqual(self.judged({"kind": "exact-merge", "parents": {"x/a": 0.6, "x/b": 0.4}}).points, 1)
        off = self.judged({"kind": "exact-merge", "parents": {"a": 0.61, "b": 0.4}})
        self.assertAlmostEqual(off.weight_error, 0.01)
        self.assertAlmostEqual(off.points, (1 + 1 + 0.8) / 3)

    def test_an_uninvolved_parent_costs_ten(self):
        self.assertEqual(self.judged({"kind": "exact-merge", "parents": {"a": 0.6, "b": 0.3, "c": 0.1}}).points, -10)

    def test_an_innocent_called_a_merge_costs_ten_and_silence_nothing(self):
        innocent = {"guilty": False, "verdicts": ["fine-tune"], "parents": [], "shares": None}
        self.assertEqual(self.judged({"kind": "merge-with-changes"}, **innocent).points, -10)
        self.assertEqual(self.judged({"kind": "undetermined"}, **innocent).points, 0)
        self.assertEqual(self.judged({"kind": "fine-tune"}, **innocent).points, 1)

    def test_ratios_suffice_where_only_they_leave_a_trace(self):
        found = self.judged({"kind": "exact-merge", "parents": {"a": 1.2, "b": 0.8}}, ratios_only=True)
        self.assertAlmostEqual(found.weight_error, 0)


class Baselines(unittest.TestCase):
    def test_nnls_finds_the_best_point_of_the_cone(self):
        draw = np.random.default_rng(5)
        for _ in range(50):
            columns, target = draw.standard_normal((30, 4)), draw.standard_normal(30)
            weights = tools.nnls(columns.T @ columns, columns.T @ target)
            slope = columns.T @ (target - columns @ weights)
            self.assertGreaterEqual(weights.min(), 0)
            self.assertLess(slope.max(), 1e-9)  # the conditions of Karush, Kuhn and Tucker
            self.assertLess(abs(slope @ weights), 1e-9)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
