"""Models on a hub: the program against a hub of this machine that speaks the real protocol and fails on demand.

    hub_test.py HIERON DATA SCHEMAS

Whatever goes wrong on the way, an audit gives the report that it gives on local files, or stops with one sentence
and status 4. Where HIERON_HUB_PYTHON names an interpreter that has huggingface_hub, the real client is pointed at the
same hub and the same cache: that the hub is a good imitation, and that both understand one another's caches.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from fake_hub import FakeHub, Fault, make_certificate

HIERON, DATA, SCHEMAS = (Path(a).resolve() for a in sys.argv[1:4])
FAMILY = DATA / "textgenrnn"
MODELS = {"org/parent": FAMILY / "hacker_news-bf16", "org/base": FAMILY / "base-bf16",
          "org/control": FAMILY / "reddit_rarepuppers-bf16", "org/control2": FAMILY / "reddit_apple_android-bf16"}
AUDIT = ["audit", "org/suspect", "--parent", "org/parent", "--base", "org/base", "--control", "org/control",
         "--control", "org/control2", "--sample", "16KiB", "--seed", "07"]
CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
REAL_CLIENT = os.environ.get("HIERON_HUB_PYTHON", "")


def run(*args, cwd=None, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TRANSFORMERS_")) and k not in CERTIFICATES}
    clean |= {"no_proxy": "127.0.0.1,localhost", "NO_PROXY": "127.0.0.1,localhost"}
    return subprocess.run([HIERON, *map(str, args)], capture_output=True, text=True, timeout=240, cwd=cwd,
                          env=clean | {k: str(v) for k, v in environment.items()})


def comparable(report):
    """A report without what may differ between a model here and the same model on a hub."""
    report = json.loads(json.dumps(report))
    report.pop("seconds")
    report["sampling"].pop("requests", None)
    for model in [report["suspect"], report["base"], *report["parents"], *report["controls"]]:
        model.pop("commit")
        for file in model["files"]:
            file.pop("sha256")
    return report


class HubCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="hieron-hub-test-"))
        cls.here = cls.folder / "here"  # org/NAME as folders: the same references, local
        for name, source in MODELS.items():
            shutil.copytree(source, cls.here / name)
            (cls.here / name / "README.md").write_text(f"---\nlicense: mit\n---\n# {name}\n")
            (cls.here / name / "config.json").write_text('{"model_type": "textgenrnn"}\n')
        recipe = cls.folder / "recipe.yml"
        recipe.write_text("merge_method: linear\nmodels:\n"
                          f"  - {{model: '{cls.here}/org/parent', parameters: {{weight: 0.6}}}}\n"
                          f"  - {{model: '{cls.here}/org/base', parameters: {{weight: 0.4}}}}\ndtype: bfloat16\n")
        done = run("merge", recipe, cls.here / "org/suspect", "--out-shard-size", "200KB")
        assert done.returncode == 0, done.stderr
        done = run(*AUDIT, "--json", cls.folder / "local.json", cwd=cls.here)
        assert done.returncode == 0, done.stderr
        cls.expected = comparable(json.loads((cls.folder / "local.json").read_text()))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def setUp(self):
        self.home = Path(tempfile.mkdtemp(dir=self.folder))
        self.start(FakeHub())

    def start(self, hub):
        self.hub = hub
        for name in [*MODELS, "org/suspect"]:
            hub.add(name, self.here / name)
        hub.__enter__()
        self.addCleanup(hub.__exit__)

    def on_hub(self, *args, **environment):
        return run(*args, cwd=self.home, **({"HF_ENDPOINT": self.hub.endpoint, "HF_HOME": self.home / "hf"} | environment))

    def audit(self, **environment):
        out = self.home / "report.json"
        out.unlink(missing_ok=True)
        done = self.on_hub(*AUDIT, "--json", out, **environment)
        return done, json.loads(out.read_text()) if done.returncode == 0 else None

    def refused(self, done, *words, status=4):
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertNotIn("hf_good", done.stderr)
        self.assertNotIn("Signature", done.stderr)

    def same_as_local(self, done, report):
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(comparable(report), self.expected)
        self.assertEqual(self.hub.tokens_seen("cdn"), [])


class HubTest(HubCase):
    # --- without faults

    def test_an_audit_reads_ranges_and_reports_as_on_local_files(self):
        done, report = self.audit(HF_TOKEN="hf_good")
        self.same_as_local(done, report)
        self.assertEqual(report["suspect"]["commit"], self.hub.repos["org/suspect"].refs["main"])
        for file in report["suspect"]["files"]:
            self.assertEqual(file["sha256"], self.hub.repos["org/suspect"].commits[report["suspect"]["commit"]]
                             [file["path"]].hashes()[1])
        ranges = [h for r, m, _, h in self.hub.requests if r == "cdn" and m == "GET"]
        self.assertTrue(ranges and all("Range" in h for h in ranges))
        self.assertEqual(report["sampling"]["requests"], len(self.hub.requests))
        self.assertNotEqual(self.hub.tokens_seen("hub"), [])
        blobs = list((self.home / "hf/hub").glob("models--*/blobs/*"))
        self.assertTrue(blobs)
        self.assertFalse([b for b in blobs if b.stat().st_size > 1 << 20 or len(b.name) == 64], "weights in the cache")

    def test_no_byte_is_fetched_twice(self):
        self.audit()
        seen = {}
        for role, method, path, headers in self.hub.requests:
            if role != "cdn":
                continue
            begin, end = map(int, headers["Range"].removeprefix("bytes=").split("-"))
            for other in seen.setdefault(path.split("?")[0], []):
                self.assertTrue(end < other[0] or begin > other[1], (path, begin, end, other))
            seen[path.split("?")[0]].append((begin, end))

    def test_inspect_and_plan_need_only_headers(self):
        done = self.on_hub("inspect", "org/suspect", "--json", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        local = json.loads(run("inspect", "org/suspect", "--json", "-", cwd=self.here).stdout)
        remote = json.loads(done.stdout)
        for key in ("total", "roles", "tells", "warnings", "dtypes", "metadata"):
            self.assertEqual(remote[key], local[key], key)
        recipe = self.home / "r.yml"
        recipe.write_text("merge_method: linear\nmodels:\n  - {model: org/parent, parameters: {weight: 0.5}}\n"
                          "  - {model: org/base@main, parameters: {weight: 0.5}}\ndtype: bfloat16\n")
        done = self.on_hub("plan", recipe, "--json", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(list((self.home / "hf/hub").glob("models--*/blobs/" + "?" * 64)), [])

    def test_a_local_folder_of_that_name_wins(self):
        shutil.copytree(self.here / "org", self.home / "org")
        done, report = self.audit()
        self.same_as_local(done, report)
        self.assertEqual(self.hub.requests, [])

    def test_merge_diff_and_verify_download_whole_files_once(self):
        recipe = self.home / "r.yml"
        recipe.write_text("merge_method: linear\nmodels:\n  - {model: org/parent, parameters: {weight: 0.6}}\n"
                          "  - {model: hf://org/base@main, parameters: {weight: 0.4}}\ndtype: bfloat16\n")
        done = self.on_hub("merge", recipe, "out", "--out-shard-size", "200KB")
        self.assertEqual(done.returncode, 0, done.stderr)
        for shard in (self.here / "org/suspect").glob("*.safetensors"):
            self.assertEqual((self.home / "out" / shard.name).read_bytes(), shard.read_bytes())
        before = len([r for r in self.hub.requests if r[0] == "cdn"])
        done = self.on_hub("verify", recipe, "out")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len([r for r in self.hub.requests if r[0] == "cdn"]), before)
        done = self.on_hub("diff", "org/suspect", "out")
        self.assertEqual(done.returncode, 0, done.stderr)
        for link in (self.home / "hf/hub/models--org--parent/snapshots").glob("*/*"):
            self.assertTrue(os.readlink(link).startswith("../../blobs/"), os.readlink(link))

    def test_revisions_are_branches_and_commits(self):
        first = self.hub.repos["org/suspect"].refs["main"]
        self.hub.add("org/suspect", self.here / "org/parent")
        self.hub.add("org/suspect", self.here / "org/base", branch="feature/x")
        for revision, name in ((first, "suspect"), ("main", "parent"), ("feature/x", "base")):
            done = self.on_hub("diff", f"org/suspect@{revision}", self.here / "org" / name)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_lists_of_many_pages_and_hubs_without_trees(self):
        self.hub.page = 2
        self.same_as_local(*self.audit())
        self.hub.has_tree = False
        shutil.rmtree(self.home / "hf")
        self.same_as_local(*self.audit())

    def test_a_renamed_repository_is_followed_and_said(self):
        self.hub.repos["org/old"] = type(self.hub.repos["org/base"])("org/old")
        self.hub.repos["org/old"].renamed_to = "org/suspect"
        done = self.on_hub("inspect", "org/old", "--json", "-", HF_TOKEN="hf_good")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("org/suspect", " ".join(json.loads(done.stdout)["warnings"]))
        self.assertEqual(self.hub.tokens_seen("cdn"), [])

    def test_slow_answers_overlap(self):
        self.hub.delay = 0.05
        done, report = self.audit()
        self.same_as_local(done, report)

    # --- cache

    def test_offline_uses_the_cache_and_says_what_is_missing(self):
        self.refused(self.on_hub(*AUDIT, "--offline"), "org/suspect", "not in the cache", "--offline")
        for name in [*MODELS, "org/suspect"]:
            self.assertIn(self.on_hub("diff", name, name).returncode, (0, 1))
        seen = len(self.hub.requests)
        for environment in ({"HF_HUB_OFFLINE": "1"}, {"TRANSFORMERS_OFFLINE": "yes"}):
            self.same_as_local(*self.audit(**environment))
        self.assertEqual(len(self.hub.requests), seen)
        self.refused(self.on_hub("inspect", "org/suspect@v2", "--offline"), "v2", "not in the cache")

    def test_a_commit_that_the_cache_has_whole_needs_no_network(self):
        self.on_hub("diff", "org/suspect", "org/suspect")
        commit, seen = self.hub.repos["org/suspect"].refs["main"], len(self.hub.requests)
        done = self.on_hub("inspect", f"org/suspect@{commit}")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(self.hub.requests), seen)

    def test_a_cache_that_cannot_be_written(self):
        (self.home / "file").write_text("")
        self.same_as_local(*self.audit(HF_HUB_CACHE=self.home / "file/hub"))
        self.refused(self.on_hub("diff", "org/base", "org/parent", HF_HUB_CACHE=self.home / "file/hub"),
                     "cannot be written", "HF_HUB_CACHE")

    def test_a_download_goes_on_where_it_stopped(self):
        big = self.home / "big"
        shutil.copytree(self.here / "org/base", big)
        self.make_large(big / "model.safetensors", 40 << 20)
        self.hub.add("org/big", big)
        self.hub.fault = Fault("status", times=-1, after=3, status=404)
        self.refused(self.on_hub("diff", "org/big", "org/big"), "org/big")
        self.assertTrue(list((self.home / "hf/hub/models--org--big/blobs").glob("*.hieron.incomplete")))
        self.hub.fault = None
        before = len(self.hub.requests)
        done = self.on_hub("diff", "org/big", "org/big")
        self.assertEqual(done.returncode, 0, done.stderr)
        fetched = [r for r in self.hub.requests[before:] if r[0] == "cdn"]
        self.assertEqual(len(fetched), 3)  # of six pieces three were there
        self.assertEqual(list((self.home / "hf/hub/models--org--big/blobs").glob("*.incomplete")), [])

    def make_large(self, path, size):
        header = json.dumps({"w": {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size]}}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + os.urandom(1 << 20) * (size >> 20))
        for other in path.parent.glob("*.safetensors"):
            if other != path:
                other.unlink()
        (path.parent / "model.safetensors.index.json").unlink(missing_ok=True)

    def test_files_alike_are_fetched_once(self):
        twins = self.home / "twins"
        twins.mkdir()
        self.make_large(twins / "model.safetensors", 1 << 20)
        os.rename(twins / "model.safetensors", twins / "a.safetensors")
        shutil.copy(twins / "a.safetensors", twins / "b.safetensors")
        self.hub.add("org/twins", twins)
        done = self.on_hub("diff", "org/twins", "org/twins")
        self.refused(done, "is in a.safetensors and again in b.safetensors", status=3)
        self.assertEqual(len([r for r in self.hub.requests if r[0] == "cdn"]), 1)
        links = (self.home / "hf/hub/models--org--twins/snapshots").glob("*/*.safetensors")
        self.assertEqual(len({os.readlink(link) for link in links}), 1)

    def test_a_damaged_download_is_thrown_away(self):
        commit = self.hub.repos["org/base"].refs["main"]
        file = self.hub.repos["org/base"].commits[commit]["model.safetensors"]
        read = file.read
        file.hashes()
        file.read = lambda offset, count: bytes(b ^ 1 for b in read(offset, count))
        self.refused(self.on_hub("diff", "org/base", "org/base"), "model.safetensors", "SHA-256")
        self.assertEqual(list((self.home / "hf/hub/models--org--base/blobs").glob("?" * 64)), [])

    # --- limits

    def test_the_budget_is_kept_and_says_how_much_is_needed(self):
        done = self.on_hub(*AUDIT, "--max-download", "100KB")
        self.refused(done, "--max-download", "100 kB are allowed")
        done = self.on_hub("diff", "org/base", "org/parent", "--max-download", "50KB")
        self.refused(done, "--max-download")

    def ranges(self):
        """Of the weights that were asked for: (first, last) of each range."""
        asked = [h["Range"] for server, method, _, h in self.hub.requests if server == "cdn" and method == "GET"]
        return [tuple(int(n) for n in r.removeprefix("bytes=").split("-")) for r in asked]

    def test_a_sample_is_weighed_before_any_of_it_is_asked_for(self):
        def of_headers(extent):
            return extent[0] < 4096

        self.audit()
        headers = sum(last + 1 - first for first, last in filter(of_headers, self.ranges()))
        self.hub.requests.clear()
        self.refused(self.on_hub(*AUDIT, "--max-download", f"{headers + 50_000}B"), "--max-download")
        self.assertTrue(self.ranges() and all(map(of_headers, self.ranges())), self.ranges())

    def test_a_pool_on_the_hub_is_sampled_too(self):
        names = self.home / "names.txt"
        names.write_text("org/parent\norg/control\norg/control2\n")
        out = self.home / "report.json"
        done = self.on_hub("audit", self.here / "org/suspect", "--base", self.here / "org/base", "--pool", names,
                           "--json", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(out.read_text())
        self.assertEqual((report["verdict"]["kind"], report["sampling"]["mode"]), ("exact-merge", "sample"))

    # --- errors told apart

    def test_what_is_missing_private_or_gated_is_told_apart(self):
        inspect = lambda ref, **env: self.on_hub("inspect", ref, **env)
        self.refused(inspect("org/none"), "org/none", "no such model", "private")
        self.refused(inspect("org/none", HF_TOKEN="hf_good"), "org/none", "whose token")
        self.refused(inspect("org/base@v9"), "no revision", "v9")
        self.refused(inspect("org/base", HF_TOKEN="hf_bad"), "does not accept the token")
        self.hub.repos["org/base"].gated = True
        self.refused(inspect("org/base"), "gated", "HF_TOKEN")
        self.hub.repos["org/parent"].private = True
        self.refused(inspect("org/parent"), "private")
        self.assertEqual(inspect("org/parent", HF_TOKEN="hf_good").returncode, 0)
        self.refused(inspect("org/parent@../x"), "no such file or folder")
        self.refused(inspect("org/base", HF_ENDPOINT="http://127.0.0.1:9"), "cannot be reached")
        self.refused(inspect("org/base", HF_ENDPOINT="ftp://x"), "HF_ENDPOINT", status=2)
        token = self.home / "token"
        token.write_text("hf_good\n")
        self.assertEqual(inspect("org/parent", HF_TOKEN_PATH=token).returncode, 0)

    def test_a_repository_without_weights(self):
        (self.home / "empty").mkdir()
        (self.home / "empty/README.md").write_text("# nothing\n")
        self.hub.add("org/empty", self.home / "empty")
        self.refused(self.on_hub("inspect", "org/empty"), "org/empty", "no .safetensors file")

    def test_a_path_that_leads_out_of_the_cache_is_refused(self):
        commit = self.hub.repos["org/base"].refs["main"]
        files = self.hub.repos["org/base"].commits[commit]
        files["../../evil.json"] = files["config.json"]
        self.refused(self.on_hub("inspect", "org/base"), "leads out of the repository")
        self.assertFalse(list(self.home.rglob("evil.json")))

    # --- faults that pass by: the report is the same

    def test_faults_that_another_try_heals(self):
        healed = {
            "reset": Fault("reset", times=3), "reset-middle": Fault("reset-middle", times=3),
            "truncated": Fault("truncated", times=3),
            "503": Fault("status", times=3, status=503), "500 of the hub": Fault("status", times=2, server="hub", status=500),
            "429": Fault("429", times=2, server="hub"),
            "429 with Retry-After": Fault("429", times=2, headers={"Retry-After": "1"}),
            "429 with RateLimit": Fault("429", times=1, server="hub", headers={"RateLimit": '"api";r=0;t=1'}),
            "drip": Fault("drip", times=2, seconds=1.5), "reset of the hub": Fault("reset", times=2, server="hub"),
            "expired once": Fault("expired", times=1),
        }
        for name, fault in healed.items():
            with self.subTest(name):
                shutil.rmtree(self.home / "hf", ignore_errors=True)
                self.hub.fault = fault
                self.same_as_local(*self.audit(HF_TOKEN="hf_good"))
                self.assertGreater(fault.hits, 0)

    def test_a_server_that_falls_silent_is_asked_again(self):
        self.hub.fault = Fault("stall", times=2, seconds=5)
        self.same_as_local(*self.audit(HF_HUB_DOWNLOAD_TIMEOUT="1"))

    def test_signed_addresses_that_expire_are_renewed(self):
        self.hub.valid_seconds = 0.4
        self.hub.delay = 0.1
        self.same_as_local(*self.audit(HF_TOKEN="hf_good"))

    # --- faults that stay: one sentence, status 4, never another verdict

    def test_faults_that_stay_end_the_audit(self):
        lasting = {
            "200": (Fault("200", times=-1), "status 200"),
            "wrong-range": (Fault("wrong-range", times=-1), "Content-Range"),
            "wrong-size": (Fault("wrong-size", times=-1), "hub lists"),
            "short": (Fault("short", times=-1), "announces"),
            "416": (Fault("416", times=-1), "416"),
            "gzip": (Fault("gzip", times=-1), "encoded"),
            "truncated": (Fault("truncated", times=-1), "several tries"),
            "503": (Fault("status", times=-1, status=503), "503"),
            "redirect-loop": (Fault("redirect-loop", times=-1), "without end"),
            "etag": (Fault("etag", times=-1, after=10), "ETag"),  # when all headers are read
            "expired": (Fault("expired", times=-1), "403"),
            "moved-commit": (Fault("moved-commit", times=-1, server="hub", match="model"), "Start again"),
            "moved-etag": (Fault("moved-etag", times=-1, server="hub", match="model"), "Start again"),
            "429 for an hour": (Fault("429", times=-1, headers={"Retry-After": "3600"}), "3600 s"),
        }
        for name, (fault, word) in lasting.items():
            with self.subTest(name):
                shutil.rmtree(self.home / "hf", ignore_errors=True)
                self.hub.fault = fault
                done, _ = self.audit(HF_TOKEN="hf_good")
                self.refused(done, word)
                self.assertGreater(fault.hits, 0)
                self.assertEqual(self.hub.tokens_seen("cdn"), [])

    def test_a_range_that_is_ignored_is_refused(self):
        large = self.home / "large"
        large.mkdir()
        self.make_large(large / "model.safetensors", 4 << 20)
        self.hub.add("org/large", large)
        self.hub.fault = Fault("200", times=-1)
        self.refused(self.on_hub("inspect", "org/large"), "status 200", "whole file")

    def test_no_token_reaches_another_host(self):
        other = FakeHub()
        other.__enter__()
        self.addCleanup(other.__exit__)
        for server in ("hub", "cdn"):
            shutil.rmtree(self.home / "hf", ignore_errors=True)
            self.hub.fault = Fault("redirect-abroad", times=-1, server=server, match="", to=other.endpoint.replace(
                "127.0.0.1", "localhost"))
            done, _ = self.audit(HF_TOKEN="hf_good")
            self.refused(done)
        self.assertGreater(len(other.requests), 0)
        self.assertEqual(other.tokens_seen("hub"), [])

    # --- TLS

    def test_a_certificate_that_nobody_vouches_for_is_refused(self):
        pem, cert = make_certificate(self.home)
        self.start(FakeHub(tls=pem))
        done, _ = self.audit(HF_TOKEN="hf_good")
        self.refused(done, "not safe")
        self.assertEqual(self.hub.requests, [])
        self.same_as_local(*self.audit(SSL_CERT_FILE=cert, HF_TOKEN="hf_good"))


@unittest.skipUnless(REAL_CLIENT, "HIERON_HUB_PYTHON names no interpreter with huggingface_hub")
class RealClientTest(HubCase):
    """huggingface_hub at the same hub, with the same cache."""

    def client(self, code, **environment):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        clean |= {"HF_ENDPOINT": self.hub.endpoint, "HF_HOME": str(self.home / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1",
                  "HF_HUB_DISABLE_UPDATE_CHECK": "1", "no_proxy": "127.0.0.1,localhost", **environment}
        done = subprocess.run([REAL_CLIENT, "-c", "from huggingface_hub import *\n" + code], capture_output=True,
                              text=True, timeout=120, env=clean)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def files(self, name):
        return sorted(p.name for p in (self.here / name).iterdir())

    def test_it_lists_and_downloads_from_the_imitation(self):
        self.hub.page = 2
        listed = self.client("print(*list_repo_files('org/suspect'), sep='\\n')").splitlines()
        self.assertEqual(sorted(listed), self.files("org/suspect"))
        folder = Path(self.client("print(snapshot_download('org/suspect'))").splitlines()[-1])
        for name in self.files("org/suspect"):
            self.assertEqual((folder / name).read_bytes(), (self.here / "org/suspect" / name).read_bytes())
        self.assertIn("RepositoryNotFoundError", self.client(
            "try: hf_hub_download('org/none', 'x')\nexcept Exception as e: print(type(e).__name__)"))
        self.assertIn("GatedRepoError", self.gated_error())

    def gated_error(self):
        self.hub.repos["org/base"].gated = True
        return self.client("try: hf_hub_download('org/base', 'model.safetensors')\n"
                           "except Exception as e: print(type(e).__name__)")

    def test_what_it_has_cached_is_used(self):
        for name in [*MODELS, "org/suspect"]:
            self.client(f"snapshot_download('{name}')")
        seen = len(self.hub.requests)
        self.same_as_local(*self.audit(HF_HUB_OFFLINE="1"))
        done, report = self.audit()
        self.same_as_local(done, report)
        self.assertFalse([r for r in self.hub.requests[seen:] if r[0] == "cdn"])
        self.assertTrue(all(f["sha256"] for f in report["suspect"]["files"]))

    def test_it_uses_what_was_cached_here(self):
        done = self.on_hub("diff", "org/suspect", "org/suspect")
        self.assertEqual(done.returncode, 0, done.stderr)
        seen = len(self.hub.requests)
        for name in self.files("org/suspect"):
            if name.endswith((".safetensors", ".json", ".md")):
                path = Path(self.client(f"print(hf_hub_download('org/suspect', '{name}'))"))
                self.assertEqual(path.read_bytes(), (self.here / "org/suspect" / name).read_bytes())
        self.assertEqual([r for r in self.hub.requests[seen:] if r[1] == "GET" and r[0] == "cdn"], [])
        self.client("print(hf_hub_download('org/suspect', 'config.json', local_files_only=True))")
        warnings = self.client("print(*scan_cache_dir().warnings)")
        self.assertEqual(warnings, "")


if __name__ == "__main__":
    sys.argv = [sys.argv[0], *sys.argv[4:]]
    unittest.main()
