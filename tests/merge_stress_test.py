#!/usr/bin/env python3
"""End-to-end tests of what must not change a merge, and of what must not pass in silence.

Kills, full disks, rivals for a folder, threads, memory, shards, instruction sets and C libraries leave the bytes as
they are; every silent error of other merge tools is refused, warned of or done right; what is written is a checkpoint
by the rules of transformers. The built program, run as a user runs it.

usage: merge_stress_test.py HIERON TEST_DATA [TEST…]

HIERON_TRANSFORMERS_PYTHON names a Python that has transformers and torch; without it the tests that open a merge in
the real library are skipped, unless this Python has them.
"""

import concurrent.futures
import errno
import importlib.util
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from merge_test import DATA, HIERON, files_of, hieron, tensor_hashes

sys.path.insert(0, os.path.join(DATA, "golden"))
try:
    import numpy as np
    from derive import save, to_bf16, to_f32
except ImportError as error:
    print(f"skipped: {error}; NumPy makes the checkpoints of these tests")
    sys.exit(77)

SEED = 20260505
WIDTH = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
INDEX, MANIFEST, JOURNAL = "model.safetensors.index.json", "hieron.json", ".hieron-journal.json"

# ---- checkpoints


def encoded(values, dtype):
    values = np.ascontiguousarray(values, np.float32)
    return dtype, to_bf16(values) if dtype == "BF16" else values.astype(WIDTH[dtype])


def decoded(dtype, values):
    return (to_f32(values) if dtype == "BF16" else values).astype(np.float64)


def llama_shapes(hidden=64, layers=2, vocabulary=96):
    shapes = {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,),
              "lm_head.weight": (vocabulary, hidden)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name, rows in (("q", hidden), ("k", hidden // 2), ("v", hidden // 2), ("o", hidden)):
            shapes[f"{prefix}self_attn.{name}_proj.weight"] = (rows, hidden)
        for name in ("gate", "up"):
            shapes[f"{prefix}mlp.{name}_proj.weight"] = (hidden * 3 // 2, hidden)
        shapes[f"{prefix}mlp.down_proj.weight"] = (hidden, hidden * 3 // 2)
        for name in ("input", "post_attention"):
            shapes[f"{prefix}{name}_layernorm.weight"] = (hidden,)
    return shapes


def llama_config(hidden=64, layers=2, vocabulary=96, **more):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
            "intermediate_size": hidden * 3 // 2, "num_hidden_layers": layers, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": vocabulary, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
            "hidden_act": "silu", "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
            "torch_dtype": "bfloat16", **more}


# Shapes on which lines, leaves and blocks do not come out even: one number, one row, one column, experts, a long
# vector, a matrix of more than one block.
ODD_SHAPES = {"odd.one": (1,), "odd.few": (7,), "odd.row": (1, 131), "odd.column": (129, 1), "odd.experts": (3, 17, 33),
              "odd.long": (3 * 4096 + 5,), "odd.wide": (67, 1031)}


def random_tensors(shapes, which, dtype="BF16", drift=0.005):
    """Model `which` of a family: 0 is the base, the others are changed a little from it."""
    tensors = {}
    for number, (name, shape) in enumerate(shapes.items()):
        values = np.random.default_rng((1, number)).standard_normal(shape) * 0.05
        if which:
            values = values + np.random.default_rng((2, number, which)).standard_normal(shape) * drift
        tensors[name] = encoded(values, dtype)
    return tensors


def write_model(folder, tensors, config=None):
    save(Path(folder) / "model.safetensors", tensors)
    if config is not None:
        Path(folder, "config.json").write_text(json.dumps(config))


FAMILY = ("base", "a", "b", "c")


def write_family(folder, **size):
    for which, name in enumerate(FAMILY):
        write_model(os.path.join(folder, name), random_tensors(llama_shapes(**size), which), llama_config(**size))


def write_odd_family(folder):
    """A Llama with tensors of odd shapes and of every dtype beside it; and a direction of its residual stream."""
    for which, name in enumerate(FAMILY):
        tensors = random_tensors({**llama_shapes(), **ODD_SHAPES}, which)
        for dtype in ("F32", "F16"):
            more = {f"{dtype}.{key}": shape for key, shape in ODD_SHAPES.items()}
            tensors.update(random_tensors(more, which, dtype))
        tensors.update(random_tensors({"mixed": (35, 41)}, which, ("F32", "BF16", "F16", "BF16")[which]))
        write_model(os.path.join(folder, name), tensors, llama_config())
    write_direction(folder)


def write_direction(folder, hidden=64):
    save(Path(folder) / "direction.safetensors", random_tensors({"direction": (hidden,)}, 0, "F32"))


def derive_models(folder):
    """The dense models and the adapter that the goldens read, in FOLDER/derived, beside links to the real families."""
    subprocess.run([sys.executable, os.path.join(DATA, "golden", "derive.py"), folder], check=True)


def headers(folder):
    """{file: (header with __metadata__, bytes of data)} of every shard."""
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            with open(os.path.join(folder, name), "rb") as f:
                n = struct.unpack("<Q", f.read(8))[0]
                found[name] = (json.loads(f.read(n)), os.path.getsize(f.name) - 8 - n)
    return found


def read_values(folder):
    """{tensor: (dtype, its numbers as f64)} of all shards."""
    values = {}
    for name, (header, _) in headers(folder).items():
        with open(os.path.join(folder, name), "rb") as f:
            raw = f.read()
        data = 8 + struct.unpack("<Q", raw[:8])[0]
        for tensor, entry in header.items():
            if tensor != "__metadata__":
                begin, end = entry["data_offsets"]
                stored = np.frombuffer(raw[data + begin : data + end], WIDTH[entry["dtype"]])
                values[tensor] = entry["dtype"], decoded(entry["dtype"], stored.reshape(entry["shape"]))
    return values


# ---- recipes: a recipe is a mapping, and JSON is YAML


def merged(method, models, base=None, **more):
    recipe = {"merge_method": method, "models": [{"model": m, "parameters": p} for m, p in models.items()]}
    if base:
        recipe["base_model"] = base
    return {**recipe, **more}


def weights(**models):
    return {name: {"weight": weight} for name, weight in models.items()}


def sparse(density, **more):
    return {"a": {"weight": 0.6, "density": density, **more}, "b": {"weight": 0.5, "density": density, **more}}


THREE = weights(a=0.5, b=0.3, c=0.4)
# A line of one number has no ranks, and 0.4 of one is none; mergekit stops there.
RANKED = [{"filter": "odd.column", "value": 1}, {"filter": "odd.one", "value": 1}, {"value": 0.4}]
METHODS = {
    "linear": merged("linear", THREE),
    "slerp": merged("slerp", {"base": {}, "a": {}}, "base", parameters={"t": 0.3}),
    "nuslerp": merged("nuslerp", weights(a=0.6, b=0.5)),
    "multislerp": merged("multislerp", THREE),
    "karcher": merged("karcher", {"a": {}, "b": {}, "c": {}}),
    "task_arithmetic": merged("task_arithmetic", THREE, "base", parameters={"lambda": 0.9}),
    "ties": merged("ties", sparse(RANKED), "base"),
    "dare_linear": merged("dare_linear", sparse(0.4), "base"),
    "dare_ties": merged("dare_ties", sparse(0.4), "base"),
    "della": merged("della", sparse(RANKED, epsilon=0.1), "base"),
    "della_linear": merged("della_linear", sparse(RANKED, epsilon=0.1), "base"),
    "breadcrumbs": merged("breadcrumbs", sparse(0.6, gamma=0.02), "base"),
    "breadcrumbs_ties": merged("breadcrumbs_ties", sparse(0.6, gamma=0.02), "base"),
    "model_stock": merged("model_stock", {"a": {}, "b": {}, "c": {}}, "base"),
    "nearswap": merged("nearswap", {"a": {}}, "base", parameters={"t": 0.002}),
    "sce": merged("sce", {"a": {}, "b": {}, "c": {}}, "base", parameters={"select_topk": 0.7}),
    "arcee_fusion": merged("arcee_fusion", {"a": {}}, "base"),
    "ram": merged("ram", {"a": {}, "b": {}}, "base", parameters={"epsilon": 0.003}),
    "ramplus_tl": merged("ramplus_tl", {"a": {}, "b": {}}, "base", parameters={"epsilon": 0.003}),
    "passthrough": merged("passthrough", {"a": {"scale": 0.7}}),
    "weighted_sum": merged("weighted_sum", {"a": {}, "b": {}}, parameters={"alpha": 0.3}),
    "add_difference": merged("add_difference", {"a": {}, "b": {}}, "base", parameters={"alpha": 0.3}),
    "train_difference": merged("train_difference", {"a": {}, "b": {}}, "base", parameters={"alpha": 0.3}),
    "geometric_median": merged("geometric_median", {"a": {}, "b": {}, "c": {}}),
    "direction_removal": merged("direction_removal", {"a": {}}, parameters={"vector": "direction.safetensors"}),
}
MERGEKIT_LACKS = {
    "mergekit-0.1.5": {"weighted_sum", "add_difference", "train_difference", "geometric_median", "direction_removal"},
    "exact": set(),
}
MERGEKIT_LACKS["mergekit-0.1.4"] = MERGEKIT_LACKS["mergekit-0.1.5"] | {"ram", "ramplus_tl"}
MADE = [(method, arithmetic) for arithmetic, lacking in MERGEKIT_LACKS.items() for method in METHODS
        if method not in lacking]


class Scratch(unittest.TestCase):
    """A folder for each test, and merges in it."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="hieron-stress-")
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write_recipe(self, recipe, name="recipe.yml"):
        text = recipe if isinstance(recipe, str) else json.dumps(recipe)
        Path(self.path(name)).write_text(text)
        return self.path(name)

    def merge(self, recipe, out, *flags):
        """Merges into `out`, a name in the folder; what it printed as JSON, and where it is."""
        result = hieron("merge", self.write_recipe(recipe), self.path(out), "--json", "-", *flags)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)["merges"][0], self.path(out)

    def values(self, recipe, *flags):
        """The numbers of a merge that is not kept."""
        _, out = self.merge(recipe, "values", *flags, "--overwrite")
        return read_values(out)

    def refusal(self, recipe, *flags, status=3):
        """The one line on stderr; nothing that looks like a checkpoint is left."""
        shutil.rmtree(self.path("refused"), ignore_errors=True)
        result = hieron("merge", self.write_recipe(recipe), self.path("refused"), *flags)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        if os.path.exists(self.path("refused")):
            self.assertEqual([n for n in os.listdir(self.path("refused")) if not n.startswith(".")], [])
        return result.stderr

    def model(self, name, tensors, config=None):
        write_model(self.path(name), {k: encoded(v, "F32") if isinstance(v, (list, np.ndarray)) else v
                                      for k, v in tensors.items()}, config)


# ---- 1 to 3: kills, full disks, rivals


def listed(folder):
    return os.listdir(folder) if os.path.isdir(folder) else []


def looks_whole(names):
    return INDEX in names or "model.safetensors" in names


class Interrupted(Scratch):
    KILLS_OF_EACH = 34  # and six kinds of merges
    SHARDS = ["--out-shard-size", "300KB"]
    STACK = {"merge_method": "passthrough", "dtype": "float16",
             "slices": [{"sources": [{"model": "a", "layer_range": [0, 4]}]},
                        {"sources": [{"model": "b", "layer_range": [2, 6]}]}]}

    def setUp(self):
        super().setUp()
        write_family(self.folder, hidden=128, layers=6, vocabulary=256)
        self.random = random.Random(f"{SEED} {self.id()}")

    def start(self, *arguments):
        """With a number of threads and a budget of memory that are never the same for long."""
        drawn = ["--threads", str(self.random.choice([1, 2, 3, 7])), "--memory", self.random.choice(["1MiB", "64MiB"])]
        process = subprocess.Popen([HIERON, "merge", *arguments, *self.SHARDS, *drawn], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def finish(self, process):
        _, complaint = process.communicate()
        self.assertEqual(process.returncode, 0, complaint)

    def kill_soon(self, process, within):
        """True if it was killed; false if it was done before."""
        time.sleep(self.random.random() * within)
        process.kill()
        _, complaint = process.communicate()
        self.assertIn(process.returncode, (0, -signal.SIGKILL), complaint)
        return process.returncode != 0

    def resume_after_kills(self, arguments, folders=("",)):
        """Kills merges into OUT, the last argument, and the reruns of some, until there were enough kills."""
        arguments, out, undisturbed = [*arguments, self.path("out")], self.path("out"), self.path("undisturbed")
        began = time.monotonic()
        self.finish(self.start(*arguments[:-1], undisturbed))
        whole, kills, too_early = time.monotonic() - began, 0, []
        wanted = {folder: files_of(os.path.join(undisturbed, folder)) for folder in folders}
        self.assertTrue(all(INDEX in files for files in wanted.values()))
        for _ in range(50 * self.KILLS_OF_EACH):
            if kills >= self.KILLS_OF_EACH:
                return self.assertEqual(too_early, [], f"looked whole before they were; seed {SEED}")
            while self.kill_soon(self.start(*arguments), whole):
                kills += 1
                states = [listed(os.path.join(out, folder)) for folder in folders]
                too_early += [names for names in states if looks_whole(names) and MANIFEST not in names]
                if all(MANIFEST in names and JOURNAL not in names for names in states):
                    break  # all was done but the last lines of the report
                if self.random.random() < 0.5:
                    self.finish(self.start(*arguments))
                    break
            self.assertEqual({folder: files_of(os.path.join(out, folder)) for folder in folders}, wanted,
                             f"after kill {kills} with seed {SEED}")
            shutil.rmtree(out)
        self.fail(f"only {kills} kills came before the end; seed {SEED}")

    def test_a_linear_merge_is_resumed_to_the_same_bytes(self):
        self.resume_after_kills([self.write_recipe(METHODS["linear"])])

    def test_a_merge_of_several_passes_is_resumed_to_the_same_bytes(self):
        self.resume_after_kills([self.write_recipe(METHODS["ties"])])

    def test_a_spherical_merge_is_resumed_to_the_same_bytes(self):
        self.resume_after_kills([self.write_recipe(METHODS["slerp"])])

    def test_a_layer_stack_is_resumed_to_the_same_bytes(self):
        self.resume_after_kills([self.write_recipe(self.STACK)])

    def test_a_replay_with_random_masks_is_resumed_to_the_same_bytes(self):
        seeded = ["--arithmetic", "mergekit-0.1.5", "--random-seed", "7"]
        self.resume_after_kills([*seeded, self.write_recipe(METHODS["della"])])

    def test_two_merges_that_share_their_reads_are_resumed_to_the_same_bytes(self):
        recipes = [self.write_recipe(METHODS[method], method + ".yml") for method in ("linear", "model_stock")]
        self.resume_after_kills([*recipes, "--out-dir"], ("linear", "model_stock"))

    def stop_at(self, process, out, sign):
        """Holds a merge in the moment at which a file with this in its name is there; false if it came too late."""
        while process.poll() is None:
            if any(sign in name for name in listed(out)):
                process.send_signal(signal.SIGSTOP)
                os.waitpid(process.pid, os.WUNTRACED | os.WNOHANG)
                return process.poll() is None
        return False

    def test_of_two_merges_into_one_folder_the_second_is_refused_and_the_first_is_whole(self):
        recipe, out = self.write_recipe(METHODS["ties"]), self.path("out")
        self.finish(self.start(recipe, self.path("undisturbed")))
        first = self.start(recipe, out)
        self.assertTrue(self.stop_at(first, out, JOURNAL), "the merge was faster than its journal")
        second = hieron("merge", recipe, out, *self.SHARDS)
        first.send_signal(signal.SIGCONT)
        self.assertEqual((second.returncode, second.stderr.count("\n")), (4, 1), second.stderr)
        self.assertIn("another hieron is writing into this folder", second.stderr)
        self.finish(first)
        self.assertEqual(files_of(out), files_of(self.path("undisturbed")))

    def test_of_six_merges_started_almost_at_once_one_wins_and_leaves_no_trace_of_the_others(self):
        recipe, out = self.write_recipe(METHODS["linear"]), self.path("out")
        write_family(self.folder)
        self.finish(self.start(recipe, self.path("undisturbed")))
        undisturbed = files_of(self.path("undisturbed"))
        for _ in range(40):
            rivals = []
            for _ in range(6):
                rivals.append(self.start(recipe, out))
                time.sleep(self.random.random() * 0.008)
            complaints = [rival.communicate()[1] for rival in rivals]
            statuses = sorted(rival.returncode for rival in rivals)
            # 4: at work at the same time; 3: come when the first was done, and the folder is not empty.
            self.assertEqual((statuses[0], statuses.count(0), set(statuses) - {0, 3, 4}), (0, 1, set()), complaints)
            self.assertEqual([complaint.count("\n") for complaint in complaints].count(1), 5, complaints)
            self.assertEqual(files_of(out), undisturbed)
            shutil.rmtree(out)

    def mount(self, size):
        os.mkdir(self.path("disk"))
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", self.path("disk")],
                          capture_output=True).returncode != 0:
            self.skipTest("cannot mount a tmpfs here")
        self.addCleanup(subprocess.run, ["umount", self.path("disk")])

    def resize(self, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", self.path("disk")], check=True)

    def fill(self, path):
        with open(path, "wb", buffering=0) as others:
            try:
                while True:
                    others.write(bytes(4096))
            except OSError as full:
                self.assertEqual(full.errno, errno.ENOSPC)

    def expect_full(self, process):
        _, complaint = process.communicate()
        self.assertEqual((process.returncode, complaint.count("\n")), (4, 1), complaint)
        self.assertRegex(complaint, "needs .* free")
        self.assertFalse(looks_whole(os.listdir(self.path("disk", "out"))))

    @unittest.skipUnless(hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("mount"), "mounting needs root")
    def test_a_disk_that_fills_up_is_one_line_and_a_rerun_with_room_goes_on(self):
        self.mount("1m")
        recipe, out = self.write_recipe(METHODS["ties"]), self.path("disk", "out")
        self.finish(self.start(recipe, self.path("undisturbed")))
        self.expect_full(self.start(recipe, out))  # seen before the first byte
        self.resize("8m")
        working = self.start(recipe, out)
        self.assertTrue(self.stop_at(working, out, "00002-of"), "the merge was faster than its second shard")
        self.fill(self.path("disk", "others"))
        working.send_signal(signal.SIGCONT)
        self.expect_full(working)
        self.resize("32m")
        self.expect_continued(recipe, out)

    def expect_continued(self, recipe, out):
        rerun = hieron("merge", recipe, out, *self.SHARDS, "--json", "-")
        self.assertEqual(rerun.returncode, 0, rerun.stderr)
        self.assertGreater(json.loads(rerun.stdout)["merges"][0]["resumed_shards"], 0)
        self.assertEqual(files_of(out), files_of(self.path("undisturbed")))

    def test_an_interrupt_from_the_keyboard_is_one_line_and_a_rerun_goes_on(self):
        recipe, out = self.write_recipe(METHODS["ties"]), self.path("out")
        self.finish(self.start(recipe, self.path("undisturbed")))
        working = self.start(recipe, out)
        self.assertTrue(self.stop_at(working, out, "00003-of"), "the merge was faster than its third shard")
        working.send_signal(signal.SIGINT)
        working.send_signal(signal.SIGCONT)
        _, complaint = working.communicate()
        self.assertEqual((working.returncode, complaint.count("\n")), (4, 1), complaint)
        self.assertFalse(looks_whole(os.listdir(out)))
        self.expect_continued(recipe, out)

    def test_an_input_that_was_rewritten_meanwhile_is_not_mixed_with_what_it_was(self):
        recipe, out = self.write_recipe(METHODS["linear"]), self.path("out")
        working = self.start(recipe, out)
        self.assertTrue(self.stop_at(working, out, "00003-of"), "the merge was faster than its third shard")
        working.kill()
        working.wait()
        shutil.copyfile(self.path("c", "model.safetensors"), self.path("b", "model.safetensors"))
        rerun = hieron("merge", recipe, out, *self.SHARDS)
        if rerun.returncode == 0:
            self.finish(self.start(recipe, self.path("afresh")))
            self.assertEqual(tensor_hashes(out), tensor_hashes(self.path("afresh")))
        else:
            self.assertEqual((rerun.returncode, rerun.stderr.count("\n")), (3, 1), rerun.stderr)


# ---- 4 and 5: what has no say in the bytes


def in_pairs(function, tasks):
    """Two at a time: the machines that test have two cores at least."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda task: function(*task), tasks))


class Invariant(unittest.TestCase):
    """Every method, in exact arithmetic and as a replay of mergekit, has the bytes of one plain run."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="hieron-invariant-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        write_odd_family(cls.folder)
        for method, recipe in METHODS.items():
            Path(cls.folder, method + ".yml").write_text(json.dumps(recipe))
        made = in_pairs(cls.made, [(*one, "plain", ["--threads", "1"]) for one in MADE])
        cls.plain = dict(zip(MADE, made))

    @classmethod
    def made(cls, method, arithmetic, variation, flags, **environment):
        """The hashes of the tensors; or what went wrong."""
        out = os.path.join(cls.folder, f"{method}-{arithmetic}-{variation}")
        result = hieron("merge", os.path.join(cls.folder, method + ".yml"), out, "--arithmetic", arithmetic,
                        "--random-seed", "11", *flags, env={**os.environ, **environment})
        if result.returncode != 0:
            return result.stderr
        hashes = tensor_hashes(out)
        shutil.rmtree(out)
        return hashes

    def expect_same(self, variation, flags, among=MADE, **environment):
        tasks = [(*one, variation, flags) for one in among]
        made = in_pairs(lambda *task: self.made(*task, **environment), tasks)
        for one, hashes in zip(among, made):
            with self.subTest(method=one[0], arithmetic=one[1]):
                self.assertEqual(hashes, self.plain[one])

    def test_every_method_has_a_recipe_here_and_merges_every_shape(self):
        listed = json.loads(hieron("methods", "--json", "-", "--quiet").stdout)["methods"]
        self.assertEqual(sorted(method["name"] for method in listed), sorted(METHODS))
        tensors = set(headers(os.path.join(self.folder, "c"))["model.safetensors"][0]) - {"__metadata__"}
        for one, hashes in self.plain.items():
            with self.subTest(method=one[0], arithmetic=one[1]):
                self.assertIsInstance(hashes, dict, hashes)
                self.assertEqual(set(hashes), tensors)

    def test_an_empty_tensor_stays_empty(self):
        for which, name in enumerate(FAMILY):
            write_model(os.path.join(self.folder, "empty", name), random_tensors({"w": (5, 8), "empty": (0, 8)}, which))
        write_direction(os.path.join(self.folder, "empty"), 8)
        for method, arithmetic in MADE:
            with self.subTest(method=method, arithmetic=arithmetic):
                recipe, out = (os.path.join(self.folder, "empty", name) for name in ("recipe.yml", "out"))
                Path(recipe).write_text(json.dumps(METHODS[method]))
                made = hieron("merge", recipe, out, "--arithmetic", arithmetic, "--overwrite")
                refused = arithmetic != "exact" and made.returncode == 3 and '"empty"' in made.stderr
                if not refused:  # as some of mergekit's methods would stop there
                    self.assertEqual(made.returncode, 0, made.stderr)
                    self.assertEqual(read_values(out)["empty"][1].shape, (0, 8))

    def test_two_threads_give_the_bytes_of_one(self):
        self.expect_same("two-threads", ["--threads", "2"])

    def test_seven_threads_give_the_bytes_of_one(self):
        self.expect_same("seven-threads", ["--threads", "7"])

    def test_a_small_budget_of_memory_gives_the_same_bytes(self):
        self.expect_same("small-memory", ["--memory", "64KiB", "--threads", "2"])

    def test_a_large_budget_of_memory_gives_the_same_bytes(self):
        self.expect_same("large-memory", ["--memory", "4GiB", "--threads", "2"])

    def test_small_shards_hold_the_same_tensors(self):
        self.expect_same("small-shards", ["--out-shard-size", "50KB"])

    def test_the_instruction_set_does_not_enter(self):
        for isa in ("baseline", "avx2"):
            if hieron("methods", env={**os.environ, "HIERON_ISA": isa}).returncode == 0:
                self.expect_same(isa, [], HIERON_ISA=isa)

    def test_an_instruction_set_that_is_not_there_is_refused(self):
        refused = hieron("methods", env={**os.environ, "HIERON_ISA": "sse5"})
        self.assertEqual((refused.returncode, refused.stderr.count("\n")), (2, 1))
        self.assertIn("HIERON_ISA=sse5", refused.stderr)

    def other_libm(self):
        """A library for LD_PRELOAD whose sines and logarithms are a little off."""
        compiler, library = shutil.which("cc"), os.path.join(self.folder, "other_libm.so")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "other_libm.c")
        if not compiler or not sys.platform.startswith("linux"):
            self.skipTest("a C compiler makes the other library")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-fno-builtin", "-o", library, source, "-ldl"], check=True)
        sine = [sys.executable, "-c", "import math; print(math.sin(1.0))"]
        shifted = subprocess.run(sine, capture_output=True, text=True, env={**os.environ, "LD_PRELOAD": library})
        if shifted.stdout in ("", subprocess.run(sine, capture_output=True, text=True).stdout):
            self.skipTest("LD_PRELOAD has no effect here")
        return library

    def test_another_c_library_gives_the_same_bytes(self):
        self.expect_same("other-libm", [], LD_PRELOAD=self.other_libm())


# ---- 6: the silent errors of mergekit 0.1.4 and 0.1.5, each refused, warned of or done right
#
# 1  tensors that no table of the architecture names     here; Plan.MergesATensorThatSomeModelsLackWithAWarning,
#                                                         Plan.AccountsForEveryTensorOfEveryModel
# 2  FP8 codes averaged as numbers                        here; Plan.RefusesQuantisedCodes
# 3  vocabularies of two sizes                            here; Plan.RefusesShapesThatDiffer, goldens
#                                                         linear-vocabulary-cut and linear-vocabulary-mismatch
# 4  one model listed twice                               here; Plan.OneModelUnderTwoSpellingsIsOneModel
# 5  more models in the last slice than in the first      here
# 6  NaN and infinity written                             here; Execute.RefusesToWriteNumbersThatAreNotFinite,
#                                                         Plan.RefusesWeightsThatSumToZeroUnlessAVersionIsReplayed
# 7  misspelt keys                                        here; Recipe.AsksWhatAMisspeltKeyMeans
# 8  f32 weights under a config that says bf16            here
# 9  breadcrumbs that drop everything                     here; Breadcrumbs.DropsOutliersAndSmallChanges
# 10 stale shards and a stale index in a used folder      here; Execute.RefusesAFolderThatIsNotEmpty,
#                                                         Execute.OverwriteReplacesTheCheckpointAndNothingElse
# 11 a gradient's first value for the final norm and head here; Plan.GradientsRunOverTheLayersAndStartAtTheEmbedding
# 12 sce's equal weights for small changes                here
# 13 weight 0 taken for a missing one                     here
# 14 a half-written adapter cache taken for a whole one   here


class NeverSilent(Scratch):
    HALVES = weights(a=0.5, b=0.5)

    def plan_warnings(self, recipe, *flags):
        result = hieron("plan", self.write_recipe(recipe), "--json", "-", "--quiet", *flags)
        self.assertEqual(result.returncode, 0, result.stderr)
        return "\n".join(json.loads(result.stdout)["warnings"])

    def test_01_a_tensor_that_no_architecture_names_is_merged(self):
        for which, name in enumerate(("a", "b"), 1):
            tensors = random_tensors({**llama_shapes(), "model.layers.1.self_attn.sink_gate": (5, 3)}, which)
            write_model(self.path(name), tensors, llama_config())
        found = self.values(merged("linear", self.HALVES))["model.layers.1.self_attn.sink_gate"][1]
        a, b = (read_values(self.path(m))["model.layers.1.self_attn.sink_gate"][1] for m in "ab")
        np.testing.assert_array_equal(to_bf16((a + b) / 2), to_bf16(found))

    def test_02_quantised_codes_are_not_averaged(self):
        codes = "F8_E4M3", np.arange(64, dtype=np.uint8).reshape(8, 8)
        for name in "ab":
            self.model(name, {"model.layers.0.mlp.up_proj.weight": codes,
                              "model.layers.0.mlp.up_proj.weight_scale_inv": [[0.01]]},
                       llama_config(quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]}))
        for arithmetic in MERGEKIT_LACKS:
            with self.subTest(arithmetic=arithmetic):
                said = self.refusal(merged("linear", self.HALVES, dtype="bfloat16"), "--arithmetic", arithmetic)
                self.assertIn("quantised codes", said)

    def test_03_vocabularies_of_two_sizes_are_refused_or_cut_together_with_the_config(self):
        for which, (name, vocabulary) in enumerate((("a", 66), ("b", 64)), 1):
            write_model(self.path(name), random_tensors(llama_shapes(vocabulary=vocabulary), which),
                        llama_config(vocabulary=vocabulary))
        recipe = merged("linear", self.HALVES)
        self.assertIn("tokenizer_source", self.refusal(recipe))
        done, out = self.merge(recipe, "cut", "--unsafe-truncate-embeddings")
        self.assertTrue(done["warnings"])
        with open(os.path.join(out, "config.json")) as f:
            self.assertEqual(json.load(f)["vocab_size"], 64)
        self.assertEqual({len(read_values(out)[t][1]) for t in ("model.embed_tokens.weight", "lm_head.weight")}, {64})

    def test_04_a_model_listed_twice_counts_twice(self):
        write_family(self.folder)
        sources = [{"model": model, "layer_range": [0, 2], "parameters": {"weight": weight}}
                   for model, weight in (("a", 1), ("a", 2), ("b", 1))]
        twice = {"merge_method": "linear", "slices": [{"sources": sources}]}
        done, out = self.merge(twice, "twice")
        self.assertIn("listed twice", " ".join(done["warnings"]))
        _, once = self.merge(merged("linear", weights(a=3, b=1)), "once")
        self.assertEqual(tensor_hashes(out), tensor_hashes(once))
        for arithmetic in ("mergekit-0.1.4", "mergekit-0.1.5"):
            with self.subTest(arithmetic=arithmetic):
                self.assertIn("listed twice", self.refusal(twice, "--arithmetic", arithmetic))

    def test_05_every_model_of_the_last_slice_reaches_the_final_norm_and_head(self):
        write_family(self.folder)
        source = lambda model, layer, weight: {"model": model, "layer_range": [layer, layer + 1],
                                               "parameters": {"weight": weight}}
        recipe = {"merge_method": "linear", "slices": [{"sources": [source("a", 0, 1)]},
                                                       {"sources": [source("a", 1, 0.25), source("b", 1, 0.75)]}]}
        _, out = self.merge(recipe, "out")
        _, mixed = self.merge(merged("linear", weights(a=0.25, b=0.75)), "mixed")
        found, expected = tensor_hashes(out), tensor_hashes(mixed)
        for name in ("model.norm.weight", "lm_head.weight", "model.layers.1.mlp.up_proj.weight"):
            self.assertEqual(found[name], expected[name], name)
        self.assertEqual(found["model.embed_tokens.weight"],
                         tensor_hashes(self.path("a"))["model.embed_tokens.weight"])

    def test_06_a_sum_that_overflows_is_refused(self):
        for name in "ab":
            self.model(name, {"w": encoded(np.full((3, 5), 60000), "F16")})
        said = self.refusal(merged("linear", weights(a=1, b=1), parameters={"normalize": False}))
        self.assertIn('"w", element 0', said)
        self.assertIn("60000", said)

    def test_06_a_nan_of_an_input_is_refused_by_every_method(self):
        write_family(self.folder)
        write_direction(self.folder)
        tensors = random_tensors(llama_shapes(), 1)
        tensors["model.layers.1.self_attn.q_proj.weight"][1][7, 9] = 0x7FC0
        write_model(self.path("a"), tensors, llama_config())
        for method, recipe in METHODS.items():
            with self.subTest(method=method):
                self.assertIn("model.layers.1.self_attn.q_proj.weight", self.refusal(recipe))

    def test_07_a_misspelt_key_is_refused_wherever_it_stands_and_an_unknown_one_warned_of(self):
        write_family(self.folder)
        for misspelt in ({"densty": 0.5}, {"wieght": 0.5}):
            recipe = merged("ties", {"a": {"weight": 1, "density": 1, **misspelt}}, "base")
            self.assertIn("did you mean", self.refusal(recipe))
        recipe = merged("ties", weights(a=1), "base")
        recipe["models"][0]["parmeters"] = {"density": 0.5}
        self.assertIn("did you mean", self.refusal(recipe))
        self.assertIn("bogus_key", self.plan_warnings(merged("ties", weights(a=1), "base", bogus_key=True)))

    def dtypes_and_config(self, out):
        with open(os.path.join(out, "config.json")) as f:
            config = json.load(f)
        return {dtype for dtype, _ in read_values(out).values()}, config.get("dtype", config.get("torch_dtype"))

    def test_08_arcee_fusion_and_ramplus_tl_write_the_dtype_that_config_says(self):
        write_family(self.folder)
        for method in ("arcee_fusion", "ramplus_tl"):
            with self.subTest(method=method):
                _, out = self.merge({**METHODS[method], "dtype": "bfloat16"}, method)
                self.assertEqual(self.dtypes_and_config(out), ({"BF16"}, "bfloat16"))

    def test_08_models_of_two_dtypes_leave_a_config_that_says_what_was_written(self):
        write_family(self.folder)
        write_model(self.path("b"), random_tensors(llama_shapes(), 2, "F32"), llama_config(torch_dtype="float32"))
        _, out = self.merge(merged("linear", self.HALVES), "out")
        self.assertEqual(self.dtypes_and_config(out), ({"F32"}, "float32"))

    def test_09_breadcrumbs_leave_small_tensors_their_changes(self):
        self.model("base", {"w": np.zeros(20)})
        self.model("a", {"w": np.arange(1, 21)})
        found = self.values(merged("breadcrumbs", {"a": {"weight": 1, "density": 0.9, "gamma": 0.01}}, "base"))["w"][1]
        np.testing.assert_array_equal(found, [0, 0, *range(3, 21)])  # the 18 largest: 0.01 of 20 is none

    def test_10_a_used_folder_is_refused_and_overwriting_leaves_nothing_stale(self):
        write_family(self.folder)
        _, out = self.merge(merged("linear", self.HALVES), "out", "--out-shard-size", "20KB")
        self.assertIn(INDEX, os.listdir(out))
        other = self.write_recipe(merged("linear", weights(a=0.9, b=0.1)))
        refused = hieron("merge", other, out)
        self.assertEqual(refused.returncode, 3)
        self.assertIn("not empty", refused.stderr)
        self.assertEqual(hieron("merge", other, out, "--overwrite").returncode, 0)
        self.assertEqual([n for n in os.listdir(out) if "safetensors" in n], ["model.safetensors"])
        self.assertEqual(hieron("verify", other, out).returncode, 0)

    def test_11_a_gradient_says_which_value_the_final_norm_and_head_take(self):
        write_family(self.folder)
        recipe = merged("linear", {"a": {"weight": [0.0, 1.0]}, "b": {"weight": [1.0, 0.0]}})
        self.assertRegex(self.plan_warnings(recipe), "gradient.*first value")

    def test_12_sce_weighs_small_changes_by_their_energy(self):
        base = np.zeros(1000)
        changes = [np.full(1000, 2.0**-12), np.full(1000, 2.0**-11)]
        self.model("base", {"w": base})
        for name, change in zip("ab", changes):
            self.model(name, {"w": base + change})
        energy = [float(np.mean(c * c)) for c in changes]
        expected = sum(e * c for e, c in zip(energy, changes)) / sum(energy)
        found = self.values(merged("sce", {"a": {}, "b": {}}, "base"))["w"][1]
        np.testing.assert_array_equal(found, expected.astype(np.float32))

    def test_13_a_weight_of_zero_is_a_weight(self):
        self.model("a", {"w": [1.0, 2.0]})
        self.model("b", {"w": [4.0, -8.0]})
        np.testing.assert_array_equal(self.values(merged("linear", weights(a=0, b=1)))["w"][1], [4, -8])
        both = self.values(merged("linear", weights(a=0, b=0.5), parameters={"normalize": False}))["w"][1]
        np.testing.assert_array_equal(both, [2, -4])

    def test_a_seed_that_decides_is_part_of_the_plan_and_recorded(self):
        for which, name in enumerate(("base", "a")):  # more than the 10^6 elements of which mergekit takes a sample
            write_model(self.path(name), random_tensors({"w": (1100, 1000)}, which))
        flags = ["--arithmetic", "mergekit-0.1.5", "--random-seed"]
        for method, parameters in (("arcee_fusion", {}), ("dare_linear", {"weight": 1, "density": 0.5})):
            recipe = merged(method, {"a": parameters}, "base")
            plans = [self.merge(recipe, "out", "--dry-run", *flags, seed)[0] for seed in ("1", "2")]
            with self.subTest(method=method):
                self.assertEqual([plan["seed"] for plan in plans], [1, 2])
                self.assertNotEqual(plans[0]["plan"], plans[1]["plan"])
                _, out = self.merge(recipe, method, *flags, "2")
                with open(os.path.join(out, MANIFEST)) as f:
                    self.assertEqual(json.load(f)["seed"], 2)

    def test_14_an_adapter_merge_keeps_nothing_outside_of_its_folder(self):
        derive_models(self.folder)
        before = sorted(os.listdir(self.folder))
        recipe = self.write_recipe(merged("linear", {"derived/dense5/base+derived/dense5/base-lora": {"weight": 1}}))
        process = subprocess.Popen([HIERON, "merge", recipe, self.path("out"), "--lora-merge-cache", self.path("cache"),
                                    "--out-shard-size", "100KB"], stdout=subprocess.DEVNULL)
        while process.poll() is None and not os.path.exists(self.path("out", JOURNAL)):
            pass
        process.kill()
        process.wait()
        self.assertEqual(sorted(os.listdir(self.folder)), sorted([*before, "out", "recipe.yml"]))
        if os.path.exists(self.path("out", JOURNAL)):
            self.assertEqual(hieron("merge", recipe, self.path("out"), "--out-shard-size", "100KB").returncode, 0)
        self.assertEqual(hieron("merge", recipe, self.path("again"), "--out-shard-size", "100KB").returncode, 0)
        self.assertEqual(files_of(self.path("out")), files_of(self.path("again")))


# ---- 7 and 8: a small Llama through every method; transformers' rules

DTYPE_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def broken_rules(out, tensors):
    """What transformers or safetensors would trip over in a folder that should hold these tensors."""
    shards, broken = headers(out), []
    where, total, dtypes = {}, 0, set()
    for name, (header, size) in shards.items():
        if header.pop("__metadata__", None) != {"format": "pt"}:
            broken.append(f"{name}: the metadata is not format: pt")
        end = 0
        for tensor, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            if entry["data_offsets"][0] != end:
                broken.append(f"{name}: {tensor} begins at {entry['data_offsets'][0]}, not {end}")
            end = entry["data_offsets"][1]
            if where.setdefault(tensor, name) != name:
                broken.append(f"{tensor} is in two shards")
            dtypes.add(entry["dtype"])
        total += end
        if end != size:
            broken.append(f"{name}: {size} bytes of data, {end} of tensors")
    if set(where) != set(tensors):
        broken.append(f"tensors: {sorted(set(where) ^ set(tensors))}")
    broken += broken_index(out, shards, where, total)
    with open(os.path.join(out, "config.json")) as f:
        config = json.load(f)
    if {config.get("dtype", config.get("torch_dtype"))} != {DTYPE_NAMES[d] for d in dtypes}:
        broken.append(f"config.json says {config.get('torch_dtype')}, the tensors are {dtypes}")
    return broken


def broken_index(out, shards, where, total):
    if list(shards) == ["model.safetensors"]:
        return ["an index beside one file"] if os.path.exists(os.path.join(out, INDEX)) else []
    with open(os.path.join(out, INDEX)) as f:
        index = json.load(f)
    broken = []
    if index["weight_map"] != where:
        broken.append("the index does not say where the tensors are")
    if index["metadata"]["total_size"] != total:
        broken.append(f"total_size is {index['metadata']['total_size']}, not {total}")
    if list(shards) != [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]:
        broken.append(f"shards are called {list(shards)}")
    return broken


class SmallLlama(Scratch):
    """mergekit's own tests of its methods, by recipe. Those of its tokenizers, templates, references and layouts of
    experts are the goldens tokenizer-* and chat-template, Recipe.SplitsReferencesAsMergekitDoes and Experts.*."""

    def setUp(self):
        super().setUp()
        write_family(self.folder)
        write_direction(self.folder)

    def made(self, method, arithmetic, *flags):
        out = self.path(f"{method}-{arithmetic}")
        recipe = self.path(method + ".yml")
        Path(recipe).write_text(json.dumps({**METHODS[method], "dtype": "bfloat16"}))
        result = hieron("merge", recipe, out, "--arithmetic", arithmetic, "--random-seed", "3", *flags)
        return result.stderr if result.returncode else out

    def test_every_method_writes_a_checkpoint_of_finite_numbers(self):
        tasks = [(*one, "--out-shard-size", size) for one, size in zip(MADE, ["5GB", "40KB"] * len(MADE))]
        for (method, arithmetic, *_), out in zip(tasks, in_pairs(self.made, tasks)):
            with self.subTest(method=method, arithmetic=arithmetic):
                self.assertTrue(os.path.isdir(out), out)
                rules = broken_rules(out, llama_shapes())
                if arithmetic != "exact" and method in ("arcee_fusion", "ramplus_tl"):
                    rules = [rule for rule in rules if "config.json says" not in rule]  # as mergekit writes it: f32
                self.assertEqual(rules, [])
                for tensor, (_, values) in read_values(out).items():
                    self.assertTrue(np.isfinite(values).all(), tensor)

    def test_what_mergekit_does_not_have_it_does_not_replay(self):
        for arithmetic, lacking in MERGEKIT_LACKS.items():
            for method in sorted(lacking):
                with self.subTest(method=method, arithmetic=arithmetic):
                    said = self.refusal(METHODS[method], "--arithmetic", arithmetic, status=2)
                    self.assertIn(method, said)

    def test_a_scale_of_zero_silences_a_projection(self):
        scales = [{"filter": "o_proj", "value": 0.0}, {"value": 1.0}]
        found, a = self.values(merged("passthrough", {"a": {"scale": scales}})), read_values(self.path("a"))
        for name, (_, values) in found.items():
            np.testing.assert_array_equal(values, np.zeros_like(values) if "o_proj" in name else a[name][1], name)

    def test_della_refuses_probabilities_outside_of_0_and_1(self):
        for arithmetic in MERGEKIT_LACKS:
            recipe = merged("della", {"a": {"weight": 1, "density": 0.5, "epsilon": 0.6}}, "base",
                            hieron={"arithmetic": arithmetic})
            with self.subTest(arithmetic=arithmetic):
                self.assertIn("epsilon", self.refusal(recipe))
                self.assertEqual(hieron("plan", self.write_recipe(recipe)).returncode, 3)  # before any weight is read

    def test_a_tied_head_is_not_invented(self):
        shapes = {name: shape for name, shape in llama_shapes().items() if name != "lm_head.weight"}
        for which, name in enumerate(FAMILY):
            write_model(self.path(name), random_tensors(shapes, which), llama_config(tie_word_embeddings=True))
        for arithmetic in MERGEKIT_LACKS:
            _, out = self.merge(METHODS["task_arithmetic"], arithmetic, "--arithmetic", arithmetic)
            self.assertEqual(broken_rules(out, shapes), [])
            with open(os.path.join(out, "config.json")) as f:
                self.assertIs(json.load(f)["tie_word_embeddings"], True)

    def test_a_model_stacked_upon_itself_has_twice_the_layers_under_the_config_key_of_its_architecture(self):
        shapes = {"wte.weight": (96, 16), "wpe.weight": (32, 16), "ln_f.weight": (16,)}
        for layer in range(12):
            shapes.update({f"h.{layer}.ln_1.weight": (16,), f"h.{layer}.attn.c_attn.weight": (16, 48)})
        config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_layer": 12, "torch_dtype": "bfloat16"}
        write_model(self.path("gpt2"), random_tensors(shapes, 0), config)
        sources = [{"sources": [{"model": "gpt2", "layer_range": [0, 12]}]}] * 2
        _, out = self.merge({"merge_method": "passthrough", "slices": sources}, "out")
        found, once = tensor_hashes(out), tensor_hashes(self.path("gpt2"))
        self.assertEqual(len(found), 3 + 24 * 2)
        for layer in range(24):
            name = "h.{}.attn.c_attn.weight"
            self.assertEqual(found[name.format(layer)], once[name.format(layer % 12)])
        with open(os.path.join(out, "config.json")) as f:
            self.assertEqual(json.load(f)["n_layer"], 24)

    def test_all_towers_of_a_model_that_sees_are_merged(self):
        shapes = {"vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight": (8, 8),
                  "multi_modal_projector.linear_1.weight": (16, 8),
                  "language_model.model.embed_tokens.weight": (32, 16),
                  "language_model.model.layers.0.mlp.up_proj.weight": (24, 16),
                  "language_model.lm_head.weight": (32, 16)}
        config = {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "torch_dtype": "bfloat16",
                  "text_config": {"model_type": "llama", "num_hidden_layers": 1, "vocab_size": 32},
                  "vision_config": {"model_type": "clip_vision_model", "num_hidden_layers": 1}}
        for which, name in enumerate(FAMILY):
            write_model(self.path(name), random_tensors(shapes, which), config)
        _, out = self.merge(METHODS["linear"], "out")
        self.assertEqual(broken_rules(out, shapes), [])
        for name, (_, values) in read_values(out).items():
            self.assertFalse(np.array_equal(values, read_values(self.path("a"))[name][1]), name)

    def test_the_written_dtype_is_that_of_the_recipe(self):
        for dtype in ("float16", "float32"):
            _, out = self.merge({**METHODS["linear"], "out_dtype": dtype}, dtype, "--out-shard-size", "40KB")
            self.assertEqual(broken_rules(out, llama_shapes()), [])
            with open(os.path.join(out, "config.json")) as f:
                self.assertEqual(json.load(f)["torch_dtype"], dtype)


class Sparsified(Scratch):
    """mergekit's tests of its sparsifiers, by recipe: with a base of zeros the merge is what is kept of the changes."""

    SIZE = 100_000

    def setUp(self):
        super().setUp()
        self.changes = np.random.default_rng(4).standard_normal(self.SIZE).astype(np.float32)
        self.model("base", {"w": np.zeros(self.SIZE)})
        self.model("a", {"w": self.changes})

    def kept(self, method, density, rescale=False, flags=(), **parameters):
        recipe = merged(method, {"a": {"weight": 1, "density": density, **parameters}}, "base",
                        parameters={"rescale": rescale, "normalize": False})
        return self.values(recipe, *flags)["w"][1]

    def test_ties_keeps_exactly_the_largest(self):
        for density in (0.3333, 0.5, 0.7, 1e-5, 1):
            kept = self.kept("ties", density)
            count = int(density * self.SIZE)
            self.assertEqual(np.count_nonzero(kept), count, density)
            smallest = np.sort(np.abs(self.changes))[-count]
            np.testing.assert_array_equal(kept, np.where(np.abs(self.changes) >= smallest, self.changes, 0))

    def test_of_equal_changes_the_first_are_kept(self):
        self.model("a", {"w": np.tile([1.0, -1.0], self.SIZE // 2)})
        kept = self.kept("ties", 0.3)
        self.assertEqual(np.flatnonzero(kept).tolist(), list(range(int(0.3 * self.SIZE))))

    def test_breadcrumbs_keeps_exactly_those_behind_the_largest(self):
        order = np.argsort(-np.abs(self.changes), kind="stable")
        kept = self.kept("breadcrumbs", 0.6, gamma=0.02)
        self.assertEqual(sorted(order[2000:62000]), np.flatnonzero(kept).tolist())

    def test_dare_keeps_each_with_the_probability_of_the_density(self):
        for density in (0.1, 0.3, 0.5, 0.9):
            for arithmetic in MERGEKIT_LACKS:
                flags = ["--arithmetic", arithmetic, "--random-seed", "5"]
                share = np.count_nonzero(self.kept("dare_linear", density, flags=flags)) / self.SIZE
                deviation = (density * (1 - density) / self.SIZE) ** 0.5
                self.assertLess(abs(share - density), 5 * deviation, arithmetic)

    def test_rescaling_gives_back_the_l1_norm(self):
        for method in ("ties", "dare_linear", "della_linear", "breadcrumbs"):
            kept = self.kept(method, 0.6, rescale=True)
            ratio = np.abs(kept).sum() / np.abs(self.changes.astype(np.float64)).sum()
            self.assertAlmostEqual(ratio, 1, 4, method)

    def test_a_density_of_one_changes_nothing(self):
        for method in ("ties", "dare_linear", "dare_ties", "della", "breadcrumbs"):
            np.testing.assert_array_equal(self.kept(method, 1, rescale=True), self.changes, method)


OPEN = """
import json, sys, torch, transformers
transformers.logging.set_verbosity_error()
for folder in sys.argv[1:]:
    model, told = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**tokenizer("def main():", return_tensors="pt")).logits
    print(json.dumps({"layers": model.config.num_hidden_layers, "dtype": str(next(model.parameters()).dtype),
                      "finite": bool(torch.isfinite(logits).all()), "vocabulary": logits.shape[-1],
                      "wrong": sorted(map(str, [*told["missing_keys"], *told["unexpected_keys"],
                                                *told["mismatched_keys"]]))}))
"""


def transformers_python():
    named = os.environ.get("HIERON_TRANSFORMERS_PYTHON")
    if named:
        return named
    return sys.executable if all(map(importlib.util.find_spec, ("torch", "transformers"))) else None


def stacked(family):
    slices = [("code", 0, 3), ("news", 1, 4), ("code", 3, 5)]
    return {"merge_method": "passthrough", "dtype": "bfloat16",
            "slices": [{"sources": [{"model": f"{family}/{m}", "layer_range": [i, j]}]} for m, i, j in slices]}


def halves(family, **more):
    return merged("linear", {f"{family}/{m}": {"weight": 0.5} for m in ("code", "news")}, **more)


@unittest.skipUnless(transformers_python(), "HIERON_TRANSFORMERS_PYTHON names no Python with transformers and torch")
class InTransformers(Scratch):
    """Merges of a real family are opened by the real library, and think once."""

    # A layer stack of dense models and one of mixtures whose first layer is dense; mixtures in shards, with their
    # experts fused, and moved to f16.
    MERGES = {"dense-stack": (stacked("derived/dense5"), "5GB", 8, "bfloat16"),
              "mixture-stack": (stacked("moe"), "5GB", 8, "bfloat16"),
              "mixture-shards": (halves("moe", dtype="bfloat16"), "500KB", 6, "bfloat16"),
              "mixture-fused": (halves("moe", hieron={"experts": "fused"}), "5GB", 6, "bfloat16"),
              "dense-f16": (halves("derived/dense5", dtype="float16"), "5GB", 5, "float16")}

    def test_merges_open_and_think(self):
        derive_models(self.folder)
        outs = [self.merge(recipe, name, "--out-shard-size", size)[1]
                for name, (recipe, size, *_) in self.MERGES.items()]
        opened = subprocess.run([transformers_python(), "-c", OPEN, *outs], capture_output=True, text=True,
                                env={**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""})
        self.assertEqual(opened.returncode, 0, opened.stderr[-2000:])
        for (name, (_, _, layers, dtype)), line in zip(self.MERGES.items(), opened.stdout.splitlines(), strict=True):
            with self.subTest(merge=name):
                self.assertEqual(json.loads(line), {"layers": layers, "dtype": f"torch.{dtype}", "finite": True,
                                                    "vocabulary": 1024, "wrong": []})


if __name__ == "__main__":
    print(f"seed {SEED}", flush=True)
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
