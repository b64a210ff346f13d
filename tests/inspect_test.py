#!/usr/bin/env python3
"""hieron inspect and the frame of the command line, as a user meets them.   inspect_test.py PROGRAM DATA SCHEMA"""

import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

PROGRAM, DATA, SCHEMA = sys.argv[1:4]


def run(*arguments, **more):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, **more)


def write_checkpoint(folder, header, data=b"", config=None):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(folder, "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    if config is not None:
        pathlib.Path(folder, "config.json").write_text(config)


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


class Inspect(unittest.TestCase):
    def answer(self, *arguments):
        done = run("inspect", *arguments, "--json", "-")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return json.loads(done.stdout)

    def test_counts_the_roles_of_a_mixture_of_experts(self):
        found = self.answer(DATA + "/moe/base")
        parameters = {row["role"]: row["parameters"] for row in found["roles"]}
        self.assertEqual(sum(parameters.values()), 1645568)
        self.assertEqual(parameters["expert.gate"], 5 * 8 * 64 * 128)
        self.assertEqual(parameters["mlp.gate"], 256 * 128)
        self.assertEqual(parameters["router"], 5 * 8 * 128)
        self.assertNotIn("other", parameters)
        self.assertEqual(found["layers"], list(range(6)))
        self.assertEqual(found["experts"], list(range(8)))

    def test_finds_the_recurrent_layers_of_a_model_without_config(self):
        found = self.answer(DATA + "/textgenrnn/base")
        tensors = {row["role"]: row["tensors"] for row in found["roles"]}
        self.assertEqual(tensors, {"attention.q": 1, "embedding": 1, "head": 2, "recurrent": 6})
        self.assertIsNone(found["config"])

    def test_json_follows_its_schema(self):
        try:
            import jsonschema
        except ImportError:
            self.skipTest("needs jsonschema")
        schema = json.loads(pathlib.Path(SCHEMA).read_text())
        for more in ((), ("--tensors", "--hash")):
            for model in ("/moe/base", "/textgenrnn/base"):
                jsonschema.validate(self.answer(DATA + model, *more), schema)

    def test_hash_is_the_sha256_of_the_file(self):
        import hashlib
        file = pathlib.Path(DATA, "moe/base/model.safetensors")
        found = self.answer(file, "--hash")
        self.assertEqual(found["files"][0]["sha256"], hashlib.sha256(file.read_bytes()).hexdigest())

    def test_lists_every_tensor_where_it_lies(self):
        found = self.answer(DATA + "/moe/base", "--tensors")
        self.assertEqual(len(found["tensors"]), found["total"]["tensors"])
        end = 0
        for row in found["tensors"]:
            self.assertGreaterEqual(row["offset"], end)
            end = row["offset"] + row["bytes"]
        self.assertEqual(end, found["files"][0]["bytes"])

    def test_notices_what_config_and_tensors_disagree_about(self):
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(
                folder,
                {"lm_head.weight": tensor("BF16", [2, 1], 0, 4), "model.embed_tokens.weight": tensor("BF16", [7, 1], 4, 18),
                 "model.layers.3.input_layernorm.weight": tensor("F32", [1], 18, 22)},
                bytes(22),
                json.dumps({"tie_word_embeddings": True, "vocab_size": 5, "num_hidden_layers": 2, "torch_dtype": "float16"}))
            text = " ".join(self.answer(folder)["oddities"])
        for part in ("a head is stored too", "7 rows", "vocab_size 5", "says 2 layers", "says float16", "is F32", "0, 1, 2"):
            self.assertIn(part, text)

    def test_prints_no_control_character_of_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(folder,
                             {"\x1b[31m\u202ename": tensor("F32", [0], 0, 0), "__metadata__": {"mergekit_version": "\x1b[2J"}},
                             config='{"model_type": "\\u001b[2J\\u202e"}')
            pathlib.Path(folder, "README.md").write_text("made with mergekit")
            for more in ((), ("--tensors",)):
                done = run("inspect", folder, *more)
                self.assertEqual(done.returncode, 0)
                self.assertNotIn("\x1b", done.stdout + done.stderr)
                self.assertNotIn("\u202e", done.stdout + done.stderr)
            self.assertEqual([tell["id"] for tell in self.answer(folder)["tells"]],
                             ["mergekit-index-version", "mergekit-card"])

    def test_goes_past_a_damaged_config_with_a_warning(self):
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(folder, {}, config='{"num_hidden_layers": "many"}')
            found = self.answer(folder)
        self.assertIsNone(found["config"])
        self.assertIn("num_hidden_layers", found["warnings"][0])


class CommandLine(unittest.TestCase):
    def refused(self, status, *arguments):
        done = run(*arguments)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertRegex(done.stderr, r"\Ahieron: [^\n]+\n\Z")
        return done.stderr

    def test_wrong_command_lines_end_with_2_and_one_line(self):
        self.refused(2)
        self.assertIn("did you mean inspect?", self.refused(2, "inspct", "x"))
        self.assertIn("did you mean --threads?", self.refused(2, "inspect", "x", "--thread", "4"))
        self.assertIn("REF", self.refused(2, "inspect"))
        self.refused(2, "inspect", "x", "--threads", "0")
        self.refused(2, "inspect", "x", "--memory", "5X")
        self.refused(2, "inspect", "x", "--seed", "zz")
        self.refused(2, "inspect", "x", "y")

    def test_refused_inputs_end_with_3_and_missing_ones_with_4(self):
        self.refused(3, "inspect", __file__)
        self.refused(4, "inspect", "/nowhere/at/all")
        self.refused(4, "inspect", DATA + "/moe/base", "--json", "/nowhere/at/all.json", "--quiet")

    def test_a_full_output_is_an_error(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([PROGRAM, "inspect", DATA + "/moe/base"], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 4)

    def test_every_help_ends_with_an_example(self):
        help_text = run("--help")
        self.assertEqual(help_text.returncode, 0)
        for command in ("audit", "merge", "plan", "diff", "inspect", "verify", "methods"):
            self.assertIn(command, help_text.stdout)
            done = run(command, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn("\nExample:\n", done.stdout)

    def test_quiet_prints_nothing(self):
        done = run("inspect", DATA + "/moe/base", "--quiet")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_version_is_printed_by_every_command(self):
        self.assertRegex(run("--version").stdout, r"\Ahieron \d+\.\d+\.\d+\n\Z")
        self.assertEqual(run("inspect", "--version").stdout, run("--version").stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
