"""What can be asked: hieron, baselines measured in the same run, and any program that keeps to the form.

A tool turns a Question into an answer, a dict of which only `kind` is required:

    kind        a verdict of hieron audit (docs/assay.md): exact-merge, merge-with-changes, fine-tune, undetermined …
    parents     {path as in case.json: weight or null}, whoever took part, the base among them
    method      mergekit's name, or the kind of an edit
    varies      whether the weights vary by tensor
    checkpoint  a folder with what the recipe found gives when it is run: compared with the suspect bit by bit
    changed     how many elements were changed after the merge
"""

import json
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from checkpoints import Refused, bits, read, stored, values, write

MERGES = ("exact-merge", "merge-with-changes", "layer-stack")
NAMED = 0.02     # a baseline's weight above which a model counts as a parent
SIGMAS = 5       # of the least-squares test, as in public accusations
EXPLAINED = 0.9  # of the change that no single candidate explains, for NNLS
REPLAYED = 0.99  # share of bit-equal elements above which a baseline calls a merge exact: it replays in float64
KIN = 0.5        # uncentred cosine with the nearest candidate


@dataclass
class Question:
    folder: Path
    suspect: str
    candidates: list
    base: str | None
    controls: list
    pool: bool

    @classmethod
    def load(cls, folder):
        asked = json.loads((folder / "case.json").read_text())
        return cls(folder, asked["suspect"], asked.get("parents") or asked.get("pool"), asked["base"],
                   asked["controls"], "pool" in asked)

    def path(self, ref):
        return self.folder / ref

    def tensors(self, ref):
        return read(self.path(ref))


# ---- hieron ----


class Hieron:
    def __init__(self, program, timeout):
        self.program, self.timeout = Path(program).resolve(), timeout
        said = subprocess.run([self.program, "audit", "--help"], capture_output=True, text=True, check=True).stdout
        self.takes_pool = "--pool" in said

    def ask(self, question, scratch):
        """Runs in the case's folder, so that references come back as they stand in case.json."""
        report = scratch / "report.json"
        command = [self.program, "audit", question.suspect, "--quiet", "--json", report,
                   "--recipe", scratch / "found.yml"]
        if question.pool and self.takes_pool:
            listed = scratch / "pool.txt"
            listed.write_text("".join(f"{question.path(c)}\n" for c in question.candidates))
            command += ["--pool", listed]
        else:
            command += [word for c in question.candidates for word in ("--parent", c)]
        command += ["--base", question.base] if question.base else []
        command += [word for c in question.controls for word in ("--control", c)]
        done = subprocess.run(command, cwd=question.folder, capture_output=True, text=True, timeout=self.timeout)
        if done.returncode:
            return {"kind": "undetermined", "failure": done.stderr.strip() or f"exit status {done.returncode}"}
        return self.read(json.loads(report.read_text()))

    def read(self, report):
        kind, recipe, edit = report["verdict"]["kind"], report["recipe"], report["edit"]
        answer = {"kind": kind, "parents": dict.fromkeys(report["verdict"]["of"])}
        if edit and kind == "edit":
            answer |= {"method": edit["kind"], "parents": {edit["of"]: None}, "rank": edit["rank"],
                       "strength": edit["strength"]}
        elif recipe:
            answer |= {"method": recipe["method"], "varies": recipe["varies"] != "global",
                       "parents": self.parents(recipe)}
        if report["after_merge"]:
            answer["changed"] = report["after_merge"]["changed"]
        return answer

    def parents(self, recipe):
        """What the models weigh in the result: a task vector's weight includes lambda."""
        scale = recipe["parameters"].get("lambda", 1)
        sums = recipe["method"] in ("linear", "task_arithmetic", "weighted_sum", "passthrough", "add_difference")
        found, given = {}, recipe["parameters"]
        for model in recipe["models"]:
            if sums and model["effective"] is not None:
                found[model["ref"]] = model["effective"]
            else:
                found[model["ref"]] = None if model["weight"] is None else model["weight"] * scale
        others = [model["ref"] for model in recipe["models"] if model["ref"] != recipe["base_model"]]
        if recipe["method"] == "slerp" and isinstance(given.get("t"), (int, float)) and len(others) == 1:
            found |= {recipe["base_model"]: 1 - given["t"], others[0]: given["t"]}
        if recipe["method"] == "weighted_sum" and isinstance(given.get("alpha"), (int, float)) and len(found) == 2:
            found = dict(zip(found, (1 - given["alpha"], given["alpha"])))
        known = [w for w in found.values() if w is not None]
        cancels = sums and len(known) == len(found) and abs(sum(known) - 1) < 1e-6
        if recipe["base_model"] and not cancels:
            found.setdefault(recipe["base_model"], None)
        return {ref: weight for ref, weight in found.items() if weight != 0}

    def replay(self, question, answer, scratch):
        """What its recipe gives when it is run. Not part of the time that is measured."""
        if not (scratch / "found.yml").exists():
            return None
        command = [self.program, "merge", scratch / "found.yml", scratch / "replayed", "--quiet"]
        done = subprocess.run(command, cwd=question.folder, capture_output=True, text=True)
        return scratch / "replayed" if done.returncode == 0 else None


# ---- baselines ----


class Moments:
    """Inner products of the suspect s and the candidates, the base last if it is offered; over all matching tensors."""

    def __init__(self, question):
        self.refs = [*question.candidates, *([question.base] if question.base else [])]
        suspect, models = question.tensors(question.suspect), [question.tensors(ref) for ref in self.refs]
        self.names = [n for n, (_, array) in suspect.items()
                      if all(n in m and m[n][1].shape == array.shape for m in models)]
        count = len(self.refs) + 1
        self.raw, self.elements = np.zeros((count, count)), 0
        for name in self.names:
            columns = np.stack([values(m[name]).reshape(-1) for m in (*models, suspect)])
            self.raw += columns @ columns.T
            self.elements += columns.shape[1]
        self.suspect, self.models = suspect, models

    def from_origin(self):
        """The same of differences to the last candidate: Gram matrix, projections, |s − origin|²."""
        to = np.eye(len(self.raw))
        to[:, -2] -= 1
        moved = to @ self.raw @ to.T
        keep = [*range(len(self.refs) - 1)]
        return moved[np.ix_(keep, keep)], moved[keep, -1], moved[-1, -1]

    def squared_distance(self, weights):
        """|s − Σ w·x|², never below zero."""
        full = np.append(-np.asarray(weights), 1)
        return max(0.0, float(full @ self.raw @ full))

    def cosine(self):
        size = np.sqrt(np.maximum(np.diag(self.raw), 1e-300))
        return float(np.max(self.raw[:-1, -1] / size[:-1])) / size[-1]

    def blend(self, weights):
        return {name: stored(sum(w * values(m[name]) for w, m in zip(weights, self.models)), self.suspect[name][0])
                for name in self.names}


def blended_answer(moments, weights, scratch):
    """A merge with these weights, as found or to two or three decimals: whichever gives more of the suspect's bits."""
    tried = [weights, np.round(weights, 2), np.round(weights, 3)]
    shares = [bit_share(moments, moments.blend(w)) for w in tried]
    share, kept = max(shares), tried[int(np.argmax(shares))]
    write(scratch / "blend", moments.blend(kept))
    return {"kind": "exact-merge" if share >= REPLAYED else "merge-with-changes", "method": "linear", "varies": False,
            "parents": {ref: float(w) for ref, w in zip(moments.refs, kept) if abs(w) >= NAMED},
            "checkpoint": str(scratch / "blend")}


def bit_share(moments, made):
    equal = sum(int(np.count_nonzero(bits(made[n]) == bits(moments.suspect[n]))) for n in moments.names)
    return equal / max(1, sum(array.size for _, array in moments.suspect.values()))


def not_a_merge(moments):
    return {"kind": "fine-tune" if moments.cosine() > KIN else "independent"}


class LeastSquares:
    """The public test: the suspect's change regressed on the candidates' changes, and cos·√N quoted as sigmas."""

    def ask(self, question, scratch):
        moments = Moments(question)
        if len(moments.refs) < 2 or not moments.elements:
            return {"kind": "undetermined"}
        gram, along, size = moments.from_origin()
        found = np.linalg.lstsq(gram, along, rcond=None)[0]
        cosines = along / np.sqrt(np.maximum(np.diag(gram) * size, 1e-300))
        sigmas = np.abs(cosines) * np.sqrt(moments.elements)
        found[(sigmas < SIGMAS) | (np.abs(found) < NAMED)] = 0
        weights = np.append(found, 1 - found.sum())
        if np.count_nonzero(np.abs(weights) >= NAMED) < 2:
            return not_a_merge(moments)
        return blended_answer(moments, weights, scratch)


class NonNegative:
    """Non-negative least squares over candidates and base; a merge if two or more explain much more than one."""

    def ask(self, question, scratch):
        moments = Moments(question)
        if len(moments.refs) < 2 or not moments.elements:
            return {"kind": "undetermined"}
        weights = nnls(moments.raw[:-1, :-1], moments.raw[:-1, -1])
        single = min(moments.squared_distance(unit) for unit in np.eye(len(moments.refs)))
        explained = 1 - moments.squared_distance(weights) / single if single else 0
        if np.count_nonzero(weights >= NAMED) < 2 or explained < EXPLAINED:
            return not_a_merge(moments)
        return blended_answer(moments, weights, scratch)


def nnls(gram, along):
    """min |P w − s|², w ≥ 0, from PᵀP and Pᵀs: the active-set method of Lawson and Hanson (1974)."""
    count = len(along)
    weights, free = np.zeros(count), np.zeros(count, bool)
    tolerance = 1e-12 * float(np.max(np.abs(along)))
    for _ in range(10 * count):
        slope = along - gram @ weights
        slope[free] = -np.inf
        if slope.max() <= tolerance:
            break
        free[int(np.argmax(slope))] = True
        while True:
            wanted = np.zeros(count)
            wanted[free] = np.linalg.lstsq(gram[np.ix_(free, free)], along[free], rcond=None)[0]
            below = free & (wanted <= 0)
            if not below.any():
                break
            step = float(np.min(weights[below] / (weights[below] - wanted[below])))
            weights += step * (wanted - weights)
            free &= weights > 1e-15
            weights[~free] = 0
        weights = wanted
    return weights


class ModelDna:
    """modelDNA's `decompose` (PyPI: modeldna), with complete tensors. It knows merges, one parent, and neither."""

    def __init__(self):
        from modeldna.merge import MATERIAL_ALPHA, decompose_targets
        self.decompose, self.material = decompose_targets, MATERIAL_ALPHA

    def ask(self, question, scratch):
        refs = [*question.candidates, *([question.base] if question.base else [])]
        paths = {str(question.path(ref)): ref for ref in refs}
        try:
            found = self.decompose(str(question.path(question.suspect)),
                                   [str(question.path(c)) for c in question.candidates],
                                   base=question.base and str(question.path(question.base)), mode="full")
        except Exception as failure:  # noqa: BLE001  whatever another's program raises is an abstention
            return {"kind": "undetermined", "failure": f"{type(failure).__name__}: {failure}"}
        if found.summary == "SINGLE_PARENT":
            return {"kind": "fine-tune", "parents": {paths[found.best_single]: None}}
        if found.summary != "MERGE":
            return {"kind": "undetermined"}
        kind = "merge-with-changes" if any("residual remains" in note for note in found.notes) else "exact-merge"
        return {"kind": kind, "method": "linear", "varies": False,
                "parents": {paths[i]: a for i, a in found.alphas.items() if abs(a) >= self.material}}

    def replay(self, question, answer, scratch):
        if answer["kind"] not in MERGES:
            return None
        moments = Moments(question)
        weights = np.array([answer["parents"].get(ref, 0) for ref in moments.refs])
        return Path(blended_answer(moments, weights, scratch)["checkpoint"])


# ---- any program ----


class Command:
    """COMMAND CASE.JSON ANSWER.JSON"""

    def __init__(self, command, timeout):
        self.command, self.timeout = shlex.split(command), timeout

    def ask(self, question, scratch):
        answer = scratch / "answer.json"
        command = [*self.command, question.folder / "case.json", answer]
        done = subprocess.run(command, capture_output=True, text=True, timeout=self.timeout)
        if done.returncode or not answer.exists():
            return {"kind": "undetermined", "failure": done.stderr.strip()[-500:]}
        return json.loads(answer.read_text())


BASELINES = {"lstsq": LeastSquares, "nnls": NonNegative}


def open_tool(word, timeout):
    """NAME=COMMAND; hieron=PROGRAM is spoken to in its own language."""
    name, _, command = word.partition("=")
    if not command:
        raise Refused(f"--tool {word}: give NAME=COMMAND, or hieron=PROGRAM")
    return name, (Hieron if name.split("-")[0] == "hieron" else Command)(command, timeout)
