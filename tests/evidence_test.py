#!/usr/bin/env python3
"""Evidence packs as their users meet them: written by an audit, checked by somebody else, attacked by a third.

usage: evidence_test.py HIERON TEST_DATA SCHEMAS
"""

import getpass
import hashlib
import json
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zlib
from pathlib import Path

HIERON, DATA, SCHEMAS = (Path(a).resolve() for a in sys.argv[1:4])
FAMILY = DATA / "textgenrnn"
NEWS, BASE = FAMILY / "hacker_news-bf16", FAMILY / "base-bf16"
CONTROLS = [FAMILY / f"reddit_{name}-bf16" for name in ("rarepuppers", "apple_android", "legaladvice")]
FILES = ["SHA256SUMS", "blocks.bin", "evidence.json", "report.json"]


def hieron(*arguments, **more):
    return subprocess.run([HIERON, *map(str, arguments)], capture_output=True, text=True, timeout=300, **more)


def merge(folder, parents, name="suspect"):
    recipe = folder / f"{name}.yml"
    recipe.write_text(json.dumps({"merge_method": "linear", "dtype": "bfloat16", "models": [
        {"model": str(m), "parameters": {"weight": w}} for m, w in parents]}))
    done = hieron("merge", recipe, folder / name)
    assert done.returncode == 0, done.stderr
    return folder / name


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def follows(schema, answer):
    import jsonschema
    jsonschema.validate(answer, json.loads((SCHEMAS / schema).read_text()))


def sum_up(pack):
    """Makes the hashes of a pack fit its files, as a forger would."""
    index = json.loads((pack / "evidence.json").read_text())
    index["report"]["sha256"] = sha256((pack / "report.json").read_bytes())
    (pack / "evidence.json").write_text(json.dumps(index))
    (pack / "SHA256SUMS").write_text("".join(
        f"{sha256((pack / name).read_bytes())}  {name}\n" for name in ("blocks.bin", "evidence.json", "report.json")))


def contents(index):
    """Every (what, entry, place in blocks.bin), as docs/evidence.md says."""
    known, at, found = {}, 0, []
    entries = [((m["ref"], f["path"]), b) for m in index["models"] for f in m["files"] for b in f["blocks"]]
    entries += [((m["ref"], t["path"]), t) for m in index["models"] for t in m["texts"]]
    for what, entry in entries:
        key = entry["sha256"], entry["bytes"]
        if key not in known:
            known[key] = at
            at += entry.get("deflated", entry["bytes"])
        found.append((what, entry, known[key]))
    assert at == index["blocks"]["bytes"]
    return found


def unpack(entry, at, blocks):
    """The bytes of one entry, by the documented format alone."""
    if "deflated" not in entry:
        return blocks[at:at + entry["bytes"]]
    split, out = zlib.decompress(blocks[at:at + entry["deflated"]]), bytearray(entry["bytes"])
    planes, start = entry["planes"], 0
    for plane in range(planes):
        count = len(range(plane, entry["bytes"], planes))
        out[plane::planes] = split[start:start + count]
        start += count
    return bytes(out)


class Evidence(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = Path(tempfile.mkdtemp(prefix="hieron-evidence-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.shared)
        cls.suspect = merge(cls.shared, [(NEWS, 0.6), (BASE, 0.4)])
        cls.asked = [cls.suspect, "--parent", NEWS, "--base", BASE,
                     *(word for c in CONTROLS for word in ("--control", c))]
        cls.few = cls.asked[:-4]  # with one control: sooner done
        cls.pack = cls.shared / "pack"
        cls.small = cls.shared / "small"
        cls.tar = cls.shared / "pack.tar"
        for place in (cls.pack, cls.tar):
            done = hieron("audit", *cls.asked, "--seed", "5", "--evidence", place, "--json", cls.shared / "full.json")
            assert done.returncode == 0, done.stderr
        done = hieron("audit", *cls.few, "--seed", "5", "--evidence", cls.small)
        assert done.returncode == 0, done.stderr

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="hieron-evidence-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def copy(self):
        shutil.rmtree(self.folder / "copy", ignore_errors=True)
        return Path(shutil.copytree(self.small, self.folder / "copy"))

    def verify(self, pack, *more, status):
        answer = self.folder / "answer.json"
        answer.unlink(missing_ok=True)
        done = hieron("verify", pack, *more, "--json", answer)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        if status > 1:
            self.assertFalse(done.stdout)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            return done.stderr
        found = json.loads(answer.read_text())
        follows("verify.schema.json", found)
        self.assertEqual(found["equal"], status == 0)
        return found

    # ---- what it is

    def test_the_verdict_follows_from_the_pack_alone(self):
        shutil.move(self.suspect, self.shared / "gone")
        self.addCleanup(shutil.move, self.shared / "gone", self.suspect)
        for place in (self.pack, self.tar):
            found = self.verify(place, status=0)
            self.assertEqual(found["verdict"]["kind"], "exact-merge")
            self.assertEqual(found["models"], 6)

    def test_threads_and_memory_change_nothing(self):
        other = self.folder / "other"
        done = hieron("audit", *self.asked, "--seed", "5", "--evidence", other, "--threads", "1", "--memory", "8MiB",
                      "--quiet")
        self.assertEqual(done.returncode, 0, done.stderr)
        for name in FILES:
            self.assertEqual((other / name).read_bytes(), (self.pack / name).read_bytes(), name)
        for threads in ("1", "7"):
            self.verify(self.pack, "--threads", threads, "--memory", "16MiB", status=0)

    def test_it_is_small_and_whole(self):
        self.assertEqual(sorted(p.name for p in self.pack.iterdir()), FILES)
        self.assertLess(sum(p.stat().st_size for p in self.pack.iterdir()), 2_000_000)
        self.assertLess(self.tar.stat().st_size, 2_000_000)
        self.assertFalse([p for p in self.shared.iterdir() if p.name.startswith(".")])

    def test_it_follows_its_schemas(self):
        follows("evidence.schema.json", json.loads((self.pack / "evidence.json").read_text()))
        follows("audit.schema.json", json.loads((self.pack / "report.json").read_text()))

    def test_other_programs_can_check_and_read_it(self):
        done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=self.pack, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        with tarfile.open(self.tar) as tar:
            self.assertEqual(tar.getnames(), FILES)
            for member in tar:
                self.assertEqual((member.mtime, member.uid, member.gid, member.uname, member.mode),
                                 (0, 0, 0, "", 0o644))
                self.assertEqual(tar.extractfile(member).read(), (self.pack / member.name).read_bytes())

    def test_its_blocks_are_the_bytes_of_the_models(self):
        models = {"suspect": self.suspect, **{m.name: m for m in (NEWS, BASE, *CONTROLS)}}
        blocks = (self.pack / "blocks.bin").read_bytes()
        for (ref, path), entry, at in contents(json.loads((self.pack / "evidence.json").read_text())):
            data = unpack(entry, at, blocks)
            self.assertEqual(sha256(data), entry["sha256"])
            whole = (models[ref] / path).read_bytes()
            if "offset" not in entry:
                places = {str(m.parent) for m in models.values()} | {str(Path.cwd())}
                for place in sorted(places, key=len, reverse=True):
                    whole = whole.replace(place.encode() + b"/", b"")
            start = entry.get("offset", 0)
            self.assertEqual(data, whole[start:start + entry["bytes"]], (ref, path, start))

    def test_a_tar_that_somebody_packed_is_read(self):
        for format in (tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
            other = self.folder / "other.tar"
            with tarfile.open(other, "w", format=format) as tar:
                tar.add(self.pack, "pack")
            self.verify(other, status=0)

    def test_it_tells_nothing_of_who_made_it(self):
        told = [str(self.shared), str(DATA), str(Path.cwd()), "/tmp/", "/home/"]
        told += [name for name in (getpass.getuser(), socket.gethostname()) if len(name) > 5]
        raw = b"".join((self.pack / name).read_bytes() for name in FILES) + self.tar.read_bytes()
        blocks = (self.pack / "blocks.bin").read_bytes()
        for _, entry, at in contents(json.loads((self.pack / "evidence.json").read_text())):
            raw += unpack(entry, at, blocks)
        for text in told:
            self.assertFalse(text.encode() in raw, text)
        report = json.loads((self.pack / "report.json").read_text())
        self.assertEqual(report["suspect"]["ref"], "suspect")
        self.assertEqual(report["base"]["ref"], "base-bf16")
        self.assertEqual(report["seconds"], 0)

    def test_what_the_user_is_told_keeps_the_names_as_typed(self):
        told = json.loads((self.shared / "full.json").read_text())
        packed = json.loads((self.pack / "report.json").read_text())
        self.assertEqual(told["suspect"]["ref"], str(self.suspect))
        for key in ("replay", "sampling", "coverage", "tells"):
            self.assertEqual(told[key], packed[key], key)
        self.assertEqual(told["verdict"]["kind"], packed["verdict"]["kind"])

    def test_folders_of_this_machine_are_cut_out_of_small_files_and_no_others_are_in_it(self):
        suspect = Path(shutil.copytree(self.suspect, self.folder / "mine"))
        (suspect / "README.md").write_text(f"made by mergekit in {suspect}\n")
        (suspect / "diary.txt").write_text("dear diary")
        done = hieron("audit", suspect, *self.asked[1:], "--evidence", self.folder / "p")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("README.md", done.stderr)
        index = json.loads((self.folder / "p" / "evidence.json").read_text())
        texts = {what[1]: unpack(entry, at, (self.folder / "p" / "blocks.bin").read_bytes())
                 for what, entry, at in contents(index) if what[0] == "mine" and "offset" not in entry}
        self.assertEqual(list(texts), ["README.md", "hieron.json", "mergekit_config.yml"])
        self.assertEqual(texts["README.md"], b"made by mergekit in mine\n")
        self.verify(self.folder / "p", status=0)

    # ---- changes

    def changed(self, pack, name, at, status=1):
        data = bytearray((pack / name).read_bytes())
        data[at] ^= 1
        (pack / name).write_bytes(data)
        return self.verify(pack, status=status)

    def test_a_changed_byte_of_any_file_is_found_and_named(self):
        for name in FILES:
            size = (self.small / name).stat().st_size
            for at in (0, size // 2, size - 1):
                found = self.changed(self.copy(), name, at)
                self.assertTrue(any(name in sentence for sentence in found["changed"]), (name, at, found["changed"]))
                self.assertIsNone(found["verdict"])

    def test_a_changed_byte_of_a_block_is_named_by_model_file_and_tensor(self):
        index = json.loads((self.small / "evidence.json").read_text())
        header, weights, text = None, None, None
        for what, entry, at in contents(index):
            if what[0] == "hacker_news-bf16" and entry.get("offset") == 0:
                header = at
            elif what[0] == "hacker_news-bf16":
                weights = (entry, at)
            elif what == ("suspect", "hieron.json"):
                text = at
        found = self.changed(self.copy(), "blocks.bin", header + 20)["changed"]
        self.assertTrue(any(re.search(r"hacker_news-bf16/model.safetensors, bytes 0 to .*\(header\)", s) for s in found))
        found = self.changed(self.copy(), "blocks.bin", weights[1] + 9)["changed"]
        place = f"hacker_news-bf16/model.safetensors, bytes {weights[0]['offset']:,} to "
        self.assertTrue(any(place in s and 'tensor "' in s for s in found), found)
        found = self.changed(self.copy(), "blocks.bin", text + 9)["changed"]
        self.assertTrue(any("suspect/hieron.json" in s for s in found), found)

    def test_no_changed_byte_of_the_archive_passes(self):
        data = self.tar.read_bytes()
        random.seed(1)
        places = list(range(0, 512)) + [random.randrange(len(data)) for _ in range(400)] + [len(data) - 1]
        for at in places[::7]:
            changed = bytearray(data)
            changed[at] ^= 1 << random.randrange(8)
            (self.folder / "x.tar").write_bytes(changed)
            done = hieron("verify", self.folder / "x.tar")
            self.assertIn(done.returncode, (1, 3), (at, done.stdout, done.stderr))

    # ---- forgeries: every hash fits

    def forged(self, change, status=1):
        pack = self.copy()
        change(pack)
        sum_up(pack)
        return self.verify(pack, status=status)

    def edit(self, name, change):
        def edited(pack):
            value = json.loads((pack / name).read_text())
            change(value)
            (pack / name).write_text(json.dumps(value))
        return edited

    def test_an_untouched_pack_with_new_hashes_still_holds(self):
        self.forged(lambda pack: None, status=0)

    def test_another_verdict_in_the_report_is_found(self):
        def change(report):
            report["verdict"]["kind"] = "independent"
        found = self.forged(self.edit("report.json", change))
        self.assertIn("/verdict/kind: the report says \"independent\", the bytes say \"exact-merge\"",
                      found["differences"])
        self.assertEqual(found["verdict"]["kind"], "exact-merge")

    def test_any_other_figure_in_the_report_is_found(self):
        def change(report):
            report["tensors"][3]["alpha"] = 0.5
        self.assertIn("/tensors/3/alpha", self.forged(self.edit("report.json", change))["differences"][0])

    def test_other_options_are_found(self):
        changes = {"seed": "0" * 64, "sample_bytes": 4096, "parents": [3], "controls": [], "base": None}
        for key, value in changes.items():
            found = self.forged(self.edit("evidence.json", lambda index: index["audit"].update({key: value})))
            self.assertTrue(found["differences"], key)

    def test_other_weights_are_found(self):
        def change(pack):
            index = json.loads((pack / "evidence.json").read_text())
            blocks = bytearray((pack / "blocks.bin").read_bytes())
            what, entry, at = next(c for c in contents(index) if c[0][0] == "suspect" and c[1].get("offset", 0) > 5000)
            data = bytearray(unpack(entry, at, bytes(blocks)))
            data[100] ^= 1
            # Stored as it is, in the place of the old one: a valid pack of other weights.
            blocks[at:at + entry.get("deflated", entry["bytes"])] = data
            entry["sha256"] = sha256(data)
            index["blocks"]["bytes"] = len(blocks)
            entry.pop("deflated", None), entry.pop("planes", None)
            (pack / "blocks.bin").write_bytes(blocks)
            (pack / "evidence.json").write_text(json.dumps(index))
        found = self.forged(change)
        self.assertFalse(found["changed"])
        self.assertTrue(any("/replay" in s or "/verdict" in s for s in found["differences"]), found["differences"])

    def test_an_audit_that_reads_what_the_pack_has_not_is_no(self):
        pack = self.copy()
        index = json.loads((pack / "evidence.json").read_text())
        where = {id(entry): at for _, entry, at in contents(index)}
        known = [entry["sha256"] for model in index["models"] for file in model["files"] for entry in file["blocks"]]
        of_suspect = index["models"][0]["files"][0]["blocks"]
        # Not the header's, and in the pack for no other model.
        gone = next(entry for entry in of_suspect[1:] if known.count(entry["sha256"]) == 1)
        stored = gone.get("deflated", gone["bytes"])
        blocks = bytearray((pack / "blocks.bin").read_bytes())
        del blocks[where[id(gone)]:where[id(gone)] + stored]
        of_suspect.remove(gone)
        index["blocks"]["bytes"] -= stored
        (pack / "blocks.bin").write_bytes(blocks)
        (pack / "evidence.json").write_text(json.dumps(index))
        sum_up(pack)
        found = self.verify(pack, status=1)
        self.assertIn("does not hold bytes", found["differences"][0])

    # ---- damaged and hostile packs

    def test_what_is_cut_short_is_refused(self):
        pack = self.copy()
        (pack / "blocks.bin").write_bytes((pack / "blocks.bin").read_bytes()[:-1])
        self.assertIn("incomplete", self.verify(pack, status=3))
        for name in ("blocks.bin", "report.json", "SHA256SUMS"):
            pack = self.copy()
            (pack / name).unlink()
            self.assertIn(f"{name} is missing", self.verify(pack, status=3))
        data = self.tar.read_bytes()
        for size in (0, 100, 512, 2000, len(data) // 2, len(data) - 1024):
            (self.folder / "x.tar").write_bytes(data[:size])
            self.verify(self.folder / "x.tar", status=3)

    def test_what_was_made_to_deceive_is_refused(self):
        def path(index):
            index["models"][0]["texts"][0]["path"] = "../../x"

        def beyond(index):
            index["models"][0]["files"][0]["bytes"] = 10

        def overlapping(index):
            index["models"][0]["files"][0]["blocks"][1]["offset"] = 1

        def huge(index):
            index["models"][0]["texts"][0]["bytes"] = 2 ** 60

        def schema(index):
            index["schema"] = "hieron.evidence/99"

        for change in (path, beyond, overlapping, huge, schema):
            self.forged(self.edit("evidence.json", change), status=3)
        pack = self.copy()
        text = (pack / "evidence.json").read_text()
        (pack / "evidence.json").write_text(text.replace('"audit": {', '"audit": {"suspect":0,', 1))
        (pack / "SHA256SUMS").write_text("".join(f"{sha256((pack / n).read_bytes())}  {n}\n" for n in FILES[1:]))
        self.assertIn("twice", self.verify(pack, status=3))

    # ---- against the originals

    def test_the_originals_are_compared(self):
        found = self.verify(self.pack, "--against", f"suspect={self.suspect}", "--against", f"base-bf16={BASE}", status=0)
        self.assertEqual(found["refetched"]["blocks"], found["refetched"]["equal"])
        self.assertGreater(found["refetched"]["blocks"], 20)
        self.assertGreater(found["refetched"]["without_original"], 20)
        few = self.verify(self.tar, "--against", f"suspect={self.suspect}", "--refetch", "7", "--seed", "1", status=0)
        self.assertEqual(few["refetched"]["blocks"], 7)

    def test_other_originals_are_no(self):
        found = self.verify(self.pack, "--against", f"hacker_news-bf16={CONTROLS[0]}", status=1)
        self.assertFalse(found["changed"] or found["differences"])
        self.assertIn("hacker_news-bf16/model.safetensors", found["elsewhere"][0])

    def test_originals_that_the_pack_does_not_know_are_a_mistake(self):
        self.assertIn("no model", self.verify(self.pack, "--against", f"other={BASE}", status=2))
        self.assertIn("NAME=REF", self.verify(self.pack, "--against", BASE, status=2))

    # ---- writing

    def audit(self, *arguments, status=0):
        done = hieron("audit", *arguments, "--quiet")
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stderr

    def test_nothing_but_a_pack_is_replaced_and_that_on_demand(self):
        place = self.copy()
        self.assertIn("--overwrite", self.audit(*self.few, "--evidence", place, status=3))
        self.audit(*self.few, "--evidence", place, "--seed", "6", "--overwrite")
        self.assertNotEqual((place / "evidence.json").read_bytes(), (self.pack / "evidence.json").read_bytes())
        self.verify(place, status=0)
        (self.folder / "other").mkdir()
        (self.folder / "other" / "letter.txt").write_text("dear friend")
        (self.folder / "x.tar").write_text("not an archive")
        for other in ("other", "x.tar"):
            self.audit(*self.few, "--evidence", self.folder / other, "--overwrite", status=3)
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()), ["answer.json", "copy", "other", "x.tar"])
        (self.folder / "empty").mkdir()
        self.audit(*self.few, "--evidence", self.folder / "empty")
        self.verify(self.folder / "empty", status=0)

    def test_models_of_the_same_name_are_told_apart(self):
        for owner in ("a", "b"):
            shutil.copytree(NEWS if owner == "a" else BASE, self.folder / owner / "model")
        self.audit(self.suspect, "--parent", self.folder / "a/model", "--base", self.folder / "b/model", "--evidence",
                   self.folder / "p")
        report = json.loads((self.folder / "p/report.json").read_text())
        self.assertEqual((report["parents"][0]["ref"], report["base"]["ref"]), ("model", "model-2"))
        self.verify(self.folder / "p", status=0)

    def test_a_merge_that_was_never_written_has_no_bytes_to_keep(self):
        error = self.audit(self.shared / "suspect.yml", *self.few[1:], "--evidence", self.folder / "p", status=3)
        self.assertIn("hieron merge", error)
        self.assertFalse(list(self.folder.iterdir()))

    def test_everything_on_demand_and_within_a_limit(self):
        self.audit(*self.few, "--sample", "full", "--evidence", self.folder / "p")
        self.assertEqual(json.loads((self.folder / "p/report.json").read_text())["sampling"]["mode"], "full")
        self.verify(self.folder / "p", "--threads", "3", status=0)
        self.assertIn("--max-evidence", self.audit(*self.few, "--sample", "full", "--evidence", self.folder / "q",
                                                   "--max-evidence", "1MB", status=3))
        self.assertIn("--max-evidence", self.audit(*self.few, "--evidence", self.folder / "q", "--max-evidence", "1MB",
                                                   status=3))
        self.assertEqual([p.name for p in self.folder.iterdir() if p.name != "answer.json"], ["p"])

    def test_hashes_of_whole_files_are_noted(self):
        self.audit(*self.few, "--hash", "--evidence", self.folder / "p")
        report = json.loads((self.folder / "p/report.json").read_text())
        self.assertEqual(report["base"]["files"][0]["sha256"], sha256((BASE / "model.safetensors").read_bytes()))
        self.assertLess(sum(p.stat().st_size for p in (self.folder / "p").iterdir()), 2_000_000)
        self.verify(self.folder / "p", status=0)

    def test_a_pool_is_chosen_from_again(self):
        pool = self.folder / "pool"
        for model in (NEWS, BASE, *CONTROLS, self.suspect):
            shutil.copytree(model, pool / model.name)
        (pool / "broken").mkdir()
        (pool / "broken" / "model.safetensors").write_bytes(b"no")
        self.audit(pool / "suspect", "--pool", pool, "--base", pool / BASE.name, "--evidence", self.folder / "p")
        self.verify(self.folder / "p", status=0)
        index = json.loads((self.folder / "p/evidence.json").read_text())
        self.assertEqual(len(index["models"]), 6)
        self.assertIn("broken", index["audit"]["pool"])

    def test_shards_and_small_files_are_in_it(self):
        moe = DATA / "moe"
        suspect = merge(self.folder, [(moe / "news", 0.5), (moe / "code", 0.5)])
        raw = (suspect / "model.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", raw[:8])
        header = json.loads(raw[8:8 + length])
        header.pop("__metadata__", None)
        names = list(header)
        shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
        for shard, held in shards.items():
            entries, data = {}, b""
            for name in held:
                begin, end = header[name]["data_offsets"]
                entries[name] = {**header[name], "data_offsets": [len(data), len(data) + end - begin]}
                data += raw[8 + length + begin:8 + length + end]
            text = json.dumps(entries).encode()
            (suspect / shard).write_bytes(struct.pack("<Q", len(text)) + text + data)
        (suspect / "model.safetensors").unlink()
        (suspect / "model.safetensors.index.json").write_text(json.dumps(
            {"metadata": {"mergekit_version": "0.1.5"}, "weight_map": {n: s for s, held in shards.items() for n in held}}))
        self.audit(suspect, "--parent", moe / "news", "--parent", moe / "code", "--base", moe / "base", "--control",
                   moe / "scripture", "--evidence", self.folder / "p.tar")
        found = self.verify(self.folder / "p.tar", "--threads", "5", status=0)
        self.assertEqual(found["verdict"]["kind"], "exact-merge")
        with tarfile.open(self.folder / "p.tar") as tar:
            index = json.load(tar.extractfile("evidence.json"))
        self.assertEqual(index["models"][0]["index"], "model.safetensors.index.json")
        self.assertIn("tokenizer.json", [t["path"] for t in index["models"][1]["texts"]])
        follows("evidence.schema.json", index)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
