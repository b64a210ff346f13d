#!/usr/bin/env python3
"""Makes questions for tools that say what a checkpoint was merged from, and seals the answers.

    make_cases.py FAMILY… OUT --seed N [--tracks recipes,after,innocents,edits] [--per-track N] [--hieron PROGRAM]

FAMILY is a folder that holds a folder for each model, the base called `base` (or FOLDER:BASE): those like the base are
its fine-tunes, those unlike it strangers. Or a name of the project's own: textgenrnn, moe, dense5, moe5.

OUT/models/ID         the models that are offered, each once; links to the family's files (--copy: copies)
OUT/cases/N/          case.json, the question; suspect/, the checkpoint in question
OUT/set.json          how many cases, and the SHA-256 of the answers
OUT/answers.json      the answers: keep it from who is asked

Everything is drawn from the seed. --per-track counts cases of each family and track: N, TRACK=N,TRACK=N … or `all`, which is
every kind once and every combination of innocents.
--only N makes one case of the set again.
"""

import argparse
import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

import aftermath
import changes
import innocents
import recipes
from checkpoints import (OWN, Refused, bits, digest, informative_share, open_family, read, save, stored, weight_files,
                         write)

FORM = "hieron.forensics/1"
TRACKS = {"recipes": recipes.kinds, "after": aftermath.after_kinds, "innocents": innocents.kinds,
          "edits": aftermath.edit_kinds}
POOL = 12  # models of a pool: the fine-tunes, then made-up ones
TOKENIZER_AND_CONFIG = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json")


@dataclass
class Plan:
    """A case before it is made: all that follows is drawn from its seed."""

    family: object
    track: str
    kind: str
    seed: str
    combination: int = 0  # of wrong candidates


@dataclass
class Case:
    suspect: Path
    candidates: list
    base: str | None
    controls: list
    truth: dict
    pool: bool = False


# ---- the merge engine ----


class Engine:
    """`hieron merge`, with its output read back."""

    def __init__(self, program):
        self.program = program

    def merge(self, tree, scratch):
        """The folder under `scratch` that a recipe is written to. JSON is YAML."""
        folder = Path(tempfile.mkdtemp(dir=scratch))
        recipe = folder / "recipe.yml"
        recipe.write_text(json.dumps(tree))
        command = [self.program, "merge", recipe, folder / "out", "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Refused(f"{json.dumps(tree)}\n{done.stderr.strip()}")
        return folder / "out"

    def methods(self):
        done = subprocess.run([self.program, "methods", "--json", "-"], capture_output=True, text=True, check=True)
        return [entry["name"] for entry in json.loads(done.stdout)["methods"]]


# ---- the models that are offered ----


class Shelf:
    """OUT/models: content-addressed, so that a name says nothing and a model is stored once."""

    def __init__(self, folder, copies):
        self.folder, self.copies, self.lock = folder, copies, Lock()
        self.known = {}  # path of a family's model: its name here
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, source):
        """The name of a checkpoint in the set."""
        with self.lock:
            name = self.known.get(source) or "m" + digest(source)[:10]
            if not self.is_scratch(source):
                self.known[source] = name
            self.fill(source, self.folder / name)
        return name

    def is_scratch(self, path):
        return path.is_relative_to(self.folder.parent / "made" / "scratch")

    def fill(self, source, target):
        if target.exists():
            return
        target.mkdir()
        extra = [source / name for name in (*TOKENIZER_AND_CONFIG, "model.safetensors.index.json")]
        for path in [*weight_files(source), *(p for p in extra if p.exists())]:
            if self.copies or self.is_scratch(path):
                shutil.copyfile(path, target / path.name)
            else:
                (target / path.name).symlink_to(path.resolve())


# ---- tracks ----


class Maker:
    """Makes one case after another out of plans."""

    def __init__(self, out, engine, shelf, seed):
        self.out, self.engine, self.shelf, self.seed = out, engine, shelf, seed
        self.scratch = out / "made" / "scratch"
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.refusals = Counter()  # of arithmetics: sentence

    def make(self, plan, number):
        rng = random.Random(plan.seed)
        noise = np.random.default_rng(number_of(plan.seed))
        with tempfile.TemporaryDirectory(dir=self.scratch) as scratch:
            bench = Bench(self, plan.family, rng, noise, Path(scratch))
            case = getattr(bench, plan.track)(plan)
            return self.finish(plan, case, number)

    def finish(self, plan, case, number):
        """Writes the question; returns the answer."""
        folder = self.out / "cases" / number
        shutil.rmtree(folder, ignore_errors=True)
        suspect = folder / "suspect"
        suspect.mkdir(parents=True)
        for path in [*weight_files(case.suspect), *case.suspect.glob("config.json"),
                     *case.suspect.glob("model.safetensors.index.json")]:
            shutil.copyfile(path, suspect / path.name)

        def place(ident):
            return f"../../models/{ident}"
        question = {"form": FORM, "id": number, "suspect": "suspect",
                    "pool" if case.pool else "parents": [place(c) for c in case.candidates],
                    "base": case.base and place(case.base), "controls": [place(c) for c in case.controls]}
        (folder / "case.json").write_text(json.dumps(question, indent=1) + "\n")
        return {"track": plan.track, "family": plan.family.name, "kind": plan.kind, "seed": plan.seed,
                "suspect_sha256": digest(suspect), **case.truth}


class Bench:
    """Where one case is put together."""

    def __init__(self, maker, family, rng, noise, scratch):
        self.maker, self.family, self.rng, self.noise, self.scratch = maker, family, rng, noise, scratch
        self.made = {}  # name: folder of a model made for this case

    def path(self, name):
        return self.made.get(name) or self.family.path(name)

    def put(self, name):
        return self.maker.shelf.put(self.path(name))

    def write(self, name, tensors):
        self.made[name] = self.scratch / name
        write(self.made[name], tensors, self.family.path(self.family.base))
        return self.made[name]

    def merged(self, recipe):
        """The folder of a recipe's result."""
        if isinstance(recipe.parameters.get("vector"), int):
            recipe.parameters["vector"] = str(self.vector(recipe.parameters["vector"]))
        try:
            return self.maker.engine.merge(recipe.document(lambda name: str(self.path(name))), self.scratch)
        except Refused as refusal:  # a program that never did such a merge is not imitated
            if recipe.arithmetic == "exact":
                raise
            self.maker.refusals[re.sub(r"\S+recipe.yml, line \d+: ", "", str(refusal).splitlines()[-1])] += 1
            recipe.arithmetic = "exact"
            return self.merged(recipe)

    def vector(self, seed):
        path = self.scratch / "vector.safetensors"
        numbers = np.random.default_rng(seed).standard_normal(self.family.config["hidden_size"])
        save(path, {"direction": stored(numbers / np.linalg.norm(numbers), "F32")})
        return path

    def offer(self, involved, base, kept_back=()):
        """Candidates in random order, base or None, controls: every other fine-tune is one, the other, or neither."""
        offered, controls = [name for name in involved if name != self.family.base], []
        for name in self.family.tunes:
            if name not in (*involved, *kept_back):
                luck = self.rng.random()
                (offered if luck < 0.35 else controls if luck < 0.75 else []).append(name)
        self.rng.shuffle(offered)
        return ([self.put(n) for n in offered], self.put(self.family.base) if base else None,
                [self.put(n) for n in controls])

    def recipes(self, plan):
        if plan.kind.startswith("nested:"):
            return self.nested(plan)
        if plan.kind.endswith(":pool"):
            return self.from_a_pool(plan)
        recipe = recipes.draw(plan.kind, self.rng, self.family)
        suspect = self.merged(recipe)
        involved = recipe.names()
        needs_base = self.family.base in (*involved, recipe.base)
        return Case(suspect, *self.offer(involved, needs_base or self.rng.random() < 0.7), self.truth(recipe, involved))

    def nested(self, plan):
        inner, outer = recipes.nested(plan.kind, self.rng, self.family)
        self.made["inner"] = self.merged(inner)
        suspect = self.merged(outer)
        involved = list(dict.fromkeys([*inner.names(), *(n for n in outer.names() if n != "inner")]))
        truth = self.truth(outer, involved) | {"inner_recipe": self.truth(inner, involved)["recipe"]}
        needs_base = self.family.base in (*involved, inner.base)
        return Case(suspect, *self.offer(involved, needs_base or self.rng.random() < 0.7), truth)

    def from_a_pool(self, plan):
        pool = list(self.family.tunes)
        for number in range(POOL - len(pool)):
            pool.append(self.bystander(number))
        recipe = recipes.draw(plan.kind, self.rng, self.family, pool)
        suspect = self.merged(recipe)
        self.rng.shuffle(pool)
        return Case(suspect, [self.put(n) for n in pool], self.put(self.family.base), [],
                    self.truth(recipe, recipe.names()), pool=True)

    def bystander(self, number):
        """A made-up fine-tune of the base, as large as a real one; the same in all cases of a set."""
        name, family = f"bystander-{number}", self.family
        noise = np.random.default_rng(number_of(f"{self.maker.seed}/{family.name}/{name}"))
        base, like = family.tensors(family.base), family.tensors(family.tunes[number % len(family.tunes)])
        if name not in self.made:
            self.write(name, changes.trained(base, base, like, 1, noise))
        return name

    def after(self, plan):
        family = self.family
        foreign, *others = self.rng.sample(family.tunes, len(family.tunes))
        if len(others) < 2:  # too few to keep one back
            foreign, others = self.bystander(0), family.tunes
        recipe = recipes.draw(self.rng.choice(aftermath.MERGED), self.rng, family, others)
        recipe.arithmetic, recipe.dtype = "exact", recipes.DTYPES[family.dtype]
        merge, involved = read(self.merged(recipe)), recipe.names()
        change = aftermath.AFTER[plan.kind]
        suspect = change(merge, family.tensors(family.base), read(self.path(foreign)), self.rng, self.noise)
        moved = {n: int(np.count_nonzero(bits(suspect[n]) != bits(merge[n]))) for n in merge}
        where = sorted(n for n, count in moved.items() if count)
        truth = self.truth(recipe, involved) | {
            "verdicts": ["merge-with-changes" if where else "exact-merge"],
            "changed": sum(moved.values()), "where": where if len(where) < 4 else "everywhere",
            "reachable": informative_share(suspect, merge, [family.tensors(name) for name in involved])}
        needs_base = family.base in (*involved, recipe.base)
        return Case(self.write("suspect", suspect),
                    *self.offer(involved, needs_base or self.rng.random() < 0.7, (foreign,)), truth)

    def edits(self, plan):
        family = self.family
        subject = self.rng.choice([*family.tunes, family.base])
        like = family.tensors(self.rng.choice(family.tunes))
        edit = aftermath.EDITS[plan.kind](family.tensors(subject), like, family, self.rng, self.noise)
        offered = self.offer([subject], subject == family.base or self.rng.random() < 0.7)
        if not offered[0]:  # the base is the only model there is
            offered = ([self.put(family.tunes[0])], *offered[1:])
        return Case(self.write("suspect", edit.suspect), *offered,
                    {"guilty": True, "verdicts": list(edit.verdicts), "parents": [self.put(subject)], "optional": [],
                     "method": edit.method, "shares": None, **edit.facts})

    def truth(self, recipe, involved):
        def named(tree):
            return {self.put(name): value for name, value in tree.items()}
        optional = [recipe.base] if recipe.base and recipe.base not in involved else []
        document = recipe.document(lambda name: name if name == "inner" else self.put(name))
        if "vector" in document.get("parameters", {}):
            document["parameters"]["vector"] = "not offered"
        return {"guilty": True, "verdicts": list(recipe.verdicts), "parents": [self.put(n) for n in involved],
                "optional": [self.put(n) for n in optional], "method": recipe.method, "varies": recipe.varies,
                "shares": named(recipe.shares) if recipe.shares else None, "ratios_only": recipe.ratios_only,
                "arithmetic": recipe.arithmetic, "seed_of_masks": recipe.seed, "recipe": document}

    def innocents(self, plan):
        family = self.family
        subject, other = self.rng.sample(family.tunes, 2)
        scene = innocents.Scene(family, self.rng, self.noise, lambda recipe: read(self.merged(recipe)), subject, other)
        found = innocents.KINDS[plan.kind](scene)
        for name, tensors in scene.made.items():
            self.write(name, tensors)
        suspect = self.write("suspect", found.suspect)
        wrong = self.wrong_candidates(found, scene)
        mask = plan.combination % (1 << len(wrong)) or (0 if found.always else 1)
        chosen = [*found.always, *(name for i, name in enumerate(wrong) if mask >> i & 1)]
        with_base = plan.combination >> innocents.WRONG & 1 if found.offers_base is None else found.offers_base
        controls = [self.put(n) for n in family.tunes
                    if n not in chosen and n not in (subject, other, *found.never) and self.rng.random() < 0.5]
        self.rng.shuffle(chosen)
        truth = {"guilty": False, "verdicts": list(found.verdicts), "parents": [],
                 "optional": [self.put(n) for n in found.involved], "method": None, "shares": None}
        return Case(suspect, [self.put(n) for n in chosen], self.put(family.base) if with_base else None, controls,
                    truth)

    def wrong_candidates(self, found, scene):
        """Other fine-tunes, then made-up ones, so many that with those always offered there are four."""
        count = innocents.WRONG - len(found.always)
        wrong = [n for n in self.family.tunes if n not in (*found.always, *found.never, scene.subject)]
        self.rng.shuffle(wrong)
        return [*wrong, *(self.bystander(number) for number in range(count - len(wrong)))][:count]


def number_of(words):
    """A seed for NumPy."""
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "little")


# ---- the plan ----


def planned(family, track, count, seed):
    """Kinds in turn, so that every prefix is balanced."""
    rng = random.Random(f"{seed}/{family.name}/{track}")
    kinds = TRACKS[track](family)
    rng.shuffle(kinds)
    rounds = list(range(2 << innocents.WRONG)) if track == "innocents" else [0]
    rounds = [r for r in rounds if track != "innocents" or r % (1 << innocents.WRONG)]
    rng.shuffle(rounds)
    total = len(kinds) * len(rounds) if count == "all" else count
    for n in range(total):
        yield Plan(family, track, kinds[n % len(kinds)], f"{seed}/{family.name}/{track}/{n}",
                   rounds[n // len(kinds) % len(rounds)])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", nargs="+")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", required=True, help="any word or number")
    parser.add_argument("--tracks", default=",".join(TRACKS))
    parser.add_argument("--per-track", default="40", metavar="N",
                        help="cases of each family and track; `all`; or TRACK=N,TRACK=N …")
    parser.add_argument("--kinds", default="", help="only these, by commas: ties, slerp:curves, sibling …")
    parser.add_argument("--only", default="", metavar="N", help="only the case of this number")
    parser.add_argument("--copy", action="store_true", help="copy the families' files instead of linking them")
    parser.add_argument("--hieron", default="hieron", help="the program that merges")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    asked.counts = {}
    for track in asked.tracks.split(","):
        given = dict(part.split("=", 1) for part in asked.per_track.split(",")) if "=" in asked.per_track else {}
        count = given.get(track, "0" if given else asked.per_track)
        if track not in TRACKS or not (count == "all" or count.isdigit()):
            parser.error(f"{track}, {count}: tracks are {', '.join(TRACKS)}, counts are numbers or `all`")
        asked.counts[track] = count if count == "all" else int(count)
    return asked


def main():
    asked = arguments()
    out = asked.out.resolve()
    if out.exists() and any(out.iterdir()) and not (out / "cases").exists():
        raise Refused(f"{out}: is not empty and holds no question set; give another folder")
    for old in ("cases", "models", "made"):
        if not asked.only:
            shutil.rmtree(out / old, ignore_errors=True)
    (out / "cases").mkdir(parents=True, exist_ok=True)
    engine = Engine(shutil.which(asked.hieron) or Path(asked.hieron).resolve())
    if undrawn := set(engine.methods()) ^ set(recipes.METHODS):
        raise Refused(f"recipes.py and `hieron methods` differ in {', '.join(sorted(undrawn))}")
    plans = []
    for word in asked.family:
        family = open_family(word, out / "made")
        print(f"{family.name}: base {family.base}, fine-tunes {', '.join(family.tunes)}; "
              f"strangers {', '.join(family.strangers) or 'none'}")
        for name, reason in family.left_out.items():
            print(f"  {name} left out: {reason}")
        plans += [plan for track, count in asked.counts.items()
                  for plan in planned(family, track, count, asked.seed)]
    random.Random(asked.seed).shuffle(plans)  # a case's number tells nothing
    numbered = [(f"{n:04}", plan) for n, plan in enumerate(plans)]
    wanted = set(filter(None, asked.kinds.split(",")))
    numbered = [(n, p) for n, p in numbered
                if asked.only in ("", n) and (not wanted or p.kind in wanted)]
    maker = Maker(out, engine, Shelf(out / "models", asked.copy), asked.seed)
    began, answers = time.monotonic(), {}
    with ThreadPoolExecutor(asked.jobs) as pool:
        for (number, _), answer in zip(numbered, pool.map(lambda each: maker.make(each[1], each[0]), numbered)):
            answers[number] = answer
    for sentence, count in maker.refusals.items():
        print(f"{count} in exact arithmetic instead: {sentence}")
    seal(out, asked, answers, time.monotonic() - began)
    shutil.rmtree(maker.scratch)


def seal(out, asked, answers, seconds):
    if asked.only:
        return
    text = json.dumps({"form": FORM, "seed": asked.seed, "command": command(asked), "cases": answers}, indent=1,
                      sort_keys=True) + "\n"
    (out / "answers.json").write_text(text)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    question = {"form": FORM, "cases": len(answers), "answers_sha256": sha256}
    (out / "set.json").write_text(json.dumps(question, indent=1) + "\n")
    print(f"{len(answers)} cases in {seconds:.0f} s, seed {asked.seed}; answers sealed: SHA-256 {sha256}")


def command(asked):
    """What makes this set again; a family that is not the project's is named without its place."""
    words = [word if word in OWN else Path(word.partition(":")[0]).name for word in asked.family]
    return " ".join(["bench/forensics/make_cases.py", *words, "CASES", "--seed", asked.seed, "--tracks", asked.tracks,
                     "--per-track", asked.per_track,
                     *(["--kinds", asked.kinds] if asked.kinds else []), "--hieron", "HIERON"])


if __name__ == "__main__":
    try:
        main()
    except Refused as refusal:
        sys.exit(f"make_cases.py: {refusal}")
