#!/usr/bin/env python3
"""Asks tools every question of a set and scores what they answer.

    score.py ANSWERS CASES [--tool hieron=PROGRAM] [--tool NAME='COMMAND …'] [--baseline lstsq] [--baseline nnls]
             [--modeldna] [--json FILE] [--confusion FILE.md]

ANSWERS and CASES are answers.json and the folder it belongs to, both from make_cases.py. A COMMAND is run as
COMMAND CASE.JSON ANSWER.JSON (see README.md).

A case gives at most 1 point, the mean of what can be asked of it: class, parents, weights (1 − error/0.05), method,
share of bit-equal elements of the replay, the number of elements changed after a merge (within a factor of two), an
adapter's rank, the strength of a removal (± 0.02).
An abstention (undetermined, a failure) gives 0; a false accusation −10: an innocent called a merge or a copy, or a
model named as a parent that is none.

Exit 1 if the answers do not match their seal, or a tool named hieron accuses falsely.
"""

import argparse
import hashlib
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median

import numpy as np

from checkpoints import Refused, informative_share, read
from tools import BASELINES, MERGES, ModelDna, Question, open_tool

VERDICTS = ("copy", "reformatted-copy", "exact-merge", "merge-with-changes", "layer-stack", "edit", "fine-tune",
            "obfuscated-copy", "independent", "undetermined")
TRACKS = ("recipes", "after", "innocents", "edits")
COPIES = ("copy", "reformatted-copy", "obfuscated-copy")
NAMES_PARENTS = (*MERGES, *COPIES, "edit")
SAME_FORMULA = {"weighted_sum": "linear", "add_difference": "task_arithmetic"}
WEIGHT_SCALE = 0.05  # an error of this size scores nothing
EQUAL = 0.9999       # share of bit-equal elements that counts as a replay


@dataclass
class Score:
    case: str
    tool: str
    kind: str
    seconds: float
    points: float
    parts: dict            # class, parents, weights, method, bits, changed: 0 to 1
    accused: str = ""      # what was said of the innocent
    abstained: bool = False
    weight_error: float | None = None
    bits: float | None = None
    failure: str = ""


# ---- one answer ----


def judge(case, tool, question, answer, truth, seconds, replayed):
    named = {Path(ref).name: weight for ref, weight in (answer.get("parents") or {}).items()}
    kind = answer["kind"]
    accused = accusation(kind, named, truth)
    abstained = kind == "undetermined" and "undetermined" not in truth["verdicts"]
    parts, error, equal = {"class": float(kind in truth["verdicts"])}, None, None
    if truth["guilty"]:
        found = set(named) if kind in NAMES_PARENTS else set()
        parts["parents"] = float(set(truth["parents"]) <= found <= {*truth["parents"], *truth["optional"]})
        if truth["shares"]:
            error = weight_error(named, truth) if kind in MERGES else None
            parts["weights"] = 0.0 if error is None else max(0.0, 1 - error / WEIGHT_SCALE)
        if truth["method"] and truth["track"] != "edits":
            equal = bit_share(question, truth, replayed) if replayed else 0.0
            parts["bits"] = min(1.0, equal / truth.get("reachable", 1))
        if truth["method"] and not (kind in COPIES and kind in truth["verdicts"]):
            parts["method"] = float(method_is_right(answer, truth, parts.get("bits", 0)))
        if truth.get("changed"):
            parts["changed"] = float(0.5 <= (answer.get("changed") or 0) / truth["changed"] <= 2)
        if truth.get("rank"):
            parts["rank"] = float(answer.get("rank") == truth["rank"])
        if truth.get("strength"):
            parts["strength"] = float(abs((answer.get("strength") or 0) - truth["strength"]) <= 0.02)
    points = -10.0 if accused else 0.0 if abstained else mean(parts.values())
    return Score(case, tool, kind, seconds, points, parts, accused, abstained, error, equal, answer.get("failure", ""))


def accusation(kind, named, truth):
    """What is said of a model that does not bear it; empty if nothing is."""
    if kind not in NAMES_PARENTS:
        independent = truth["verdicts"] == ["independent"]
        return "fine-tune of a stranger" if kind == "fine-tune" and independent else ""
    if not truth["guilty"] and kind not in truth["verdicts"]:
        return f"{kind} of {', '.join(sorted(named)) or 'nothing named'}"
    uninvolved = sorted(set(named) - {*truth["parents"], *truth["optional"]})
    return f"uninvolved: {', '.join(uninvolved)}" if uninvolved else ""


def weight_error(named, truth):
    """The largest difference of a weight. A base that is not listed takes what the others leave."""
    wanted, given = dict(truth["shares"]), {name: w for name, w in named.items()}
    if any(given.get(name) is None for name in wanted if name != truth["base"]):
        return None
    if truth["base"] in wanted and given.get(truth["base"]) is None:
        given[truth["base"]] = 1 - sum(w for name, w in given.items() if w is not None)
    if truth["ratios_only"]:
        total = sum(given[name] for name in wanted)
        if not total:
            return None
        given = {name: given[name] / total for name in wanted}
        wanted = {name: w / sum(wanted.values()) for name, w in wanted.items()}
    return max(abs(given[name] - w) for name, w in wanted.items())


def method_is_right(answer, truth, equal):
    """By name or formula; or by bytes, if a description no more detailed than the truth gives them."""
    if answer.get("method") in (truth["method"], SAME_FORMULA.get(truth["method"])):
        return True
    return equal >= EQUAL and (truth.get("varies") or answer.get("varies") is False)


def bit_share(question, truth, replayed):
    """Where the parents differ from one another; of all elements where layers moved."""
    parents = [] if "layer-stack" in truth["verdicts"] else truth["parents"]
    models = [read(question.folder.parent.parent / "models" / name) for name in parents]
    return informative_share(question.tensors(question.suspect), read(replayed), models)


# ---- all answers ----


def ask(tool_name, tool, asked, number, truth):
    question = Question.load(asked.cases / "cases" / number)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        began = time.monotonic()
        try:
            answer = tool.ask(question, scratch)
        except subprocess.TimeoutExpired as late:
            answer = {"kind": "undetermined", "failure": f"no answer after {late.timeout} s"}
        seconds = time.monotonic() - began
        if answer.get("kind") not in VERDICTS:
            answer = {"kind": "undetermined", "failure": f"kind {answer.get('kind')!r} is no verdict"}
        replayed = answer.get("checkpoint")
        if not replayed and truth["guilty"] and hasattr(tool, "replay"):
            replayed = tool.replay(question, answer, scratch)
        truth = truth | {"base": question.base and Path(question.base).name}
        return judge(number, tool_name, question, answer, truth, seconds, replayed and Path(replayed))


def open_answers(path, cases):
    text = path.read_bytes()
    sealed, found = json.loads((cases / "set.json").read_text())["answers_sha256"], hashlib.sha256(text).hexdigest()
    if sealed != found:
        raise Refused(f"{path}: SHA-256 {found}, but {cases / 'set.json'} was sealed with {sealed}; "
                      "these are not its answers")
    return json.loads(text)


# ---- tables ----


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|",
                      *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def share_of(part, scores):
    found = [s.parts[part] for s in scores if part in s.parts]
    return f"{sum(v >= 1 for v in found)}/{len(found)}" if found else "–"


def summary(scores, truths, tools):
    head = ["track", "tool", "cases", "points", "class", "parents", "weights: median, max error", "method",
            f"bits ≥ {EQUAL}", "false accusations", "abstained", "seconds: median, sum"]
    rows = []
    for track in TRACKS:
        for tool in tools:
            mine = [s for s in scores if s.tool == tool and truths[s.case]["track"] == track]
            if not mine:
                continue
            errors = [s.weight_error for s in mine if s.weight_error is not None]
            replays = [s.bits for s in mine if s.bits is not None]
            rows.append([
                track, tool, len(mine), f"{mean(s.points for s in mine):.2f}", share_of("class", mine),
                share_of("parents", mine), f"{median(errors):.1g}, {max(errors):.1g}" if errors else "–",
                share_of("method", mine), f"{sum(b >= EQUAL for b in replays)}/{len(replays)}" if replays else "–",
                sum(bool(s.accused) for s in mine), sum(s.abstained for s in mine),
                f"{median(s.seconds for s in mine):.2f}, {sum(s.seconds for s in mine):.0f}"])
    return table(head, rows)


def confusion(scores, truths, tool):
    """Truth by verdict."""
    counts, mine = defaultdict(Counter), [s for s in scores if s.tool == tool]
    for score in mine:
        truth = truths[score.case]
        counts[truth["track"], truth["kind"]][score.kind] += 1
    seen = [kind for kind in VERDICTS if any(row[kind] for row in counts.values())]
    rows = []
    for (track, kind), row in sorted(counts.items(), key=lambda each: (TRACKS.index(each[0][0]), each[0][1])):
        these = [s for s in mine if (truths[s.case]["track"], truths[s.case]["kind"]) == (track, kind)]
        accused = sum(bool(s.accused) for s in these)
        rows.append([track, kind, len(these), *(row[k] or "" for k in seen), share_of("class", these),
                     share_of("parents", these), share_of("method", these), share_of("bits", these),
                     f"**{accused}**" if accused else 0])
    return table(["track", "truth", "cases", *seen, "class right", "parents right", "method right", "all bits equal",
                  "false accusations"], rows)


def accusations(scores, truths, most=10):
    """Each with the seed that makes the case again; of each tool the first."""
    rows, left = [], Counter()
    for s in scores:
        if s.accused:
            left[s.tool] += 1
            if left[s.tool] <= most:
                truth = truths[s.case]
                rows.append([s.tool, s.case, truth["seed"], truth["kind"], s.kind, s.accused])
    more = "".join(f"\n\n{tool}: {count - most} more." for tool, count in left.items() if count > most)
    return table(["tool", "case", "seed", "truth", "verdict", "accused"], rows) + more if rows else "None."


CONFUSION = """# Truth and verdict

Made by `bench/forensics/run.sh HIERON`, nothing here is typed by hand; that is:

    {make}
    {score}

Seed {seed}; {cases} cases; answers sealed with SHA-256 `{seal}`. {machine}.

## Tracks and tools

{summary}

A case gives at most 1 point, an abstention 0, a false accusation −10; what the columns mean:
[bench/forensics](../bench/forensics/README.md).

{matrices}

## False accusations of hieron

{accusations}
"""


def confusion_page(asked, sealed, scores, truths, tools):
    ours = [tool for tool in tools if tool.split("-")[0] == "hieron"]
    matrices = "\n\n".join(f"## {tool}: truth × verdict\n\n{confusion(scores, truths, tool)}"
                           for tool in ours or tools)
    words = " ".join(f"--baseline {name}" for name in asked.baseline) + (" --modeldna" if asked.modeldna else "")
    return CONFUSION.format(
        make=sealed["command"], score=f"bench/forensics/score.py CASES/answers.json CASES --tool hieron=HIERON {words} "
        f"--confusion docs/{asked.confusion.name}", seed=sealed["seed"], cases=len(truths),
        seal=hashlib.sha256(asked.answers.read_bytes()).hexdigest(), machine=machine(),
        summary=summary(scores, truths, tools), matrices=matrices,
        accusations=accusations([s for s in scores if s.tool in ours], truths, len(scores)))


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return f"{time.strftime('%Y-%m-%d')}, {cpu}, Linux {platform.release()}, NumPy {np.__version__}"


# ---- the command line ----


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answers", type=Path)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--tool", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--baseline", action="append", default=[], choices=BASELINES)
    parser.add_argument("--modeldna", action="store_true", help="if this Python has it")
    parser.add_argument("--track", default="", help="only this one")
    parser.add_argument("--json", type=Path, help="every score, for programs")
    parser.add_argument("--confusion", type=Path, help="write the tables as Markdown")
    parser.add_argument("--jobs", type=int, default=1, help="cases at a time; seconds mean little above 1")
    parser.add_argument("--timeout", type=float, default=600, help="seconds that a program has for a case")
    parser.add_argument("--verbose", action="store_true", help="a line a case")
    asked = parser.parse_args()
    if not (asked.tool or asked.baseline or asked.modeldna):
        parser.error("name something to score: --tool, --baseline or --modeldna")
    return asked


def chosen_tools(asked):
    tools = dict(open_tool(word, asked.timeout) for word in asked.tool)
    tools |= {name: BASELINES[name]() for name in asked.baseline}
    if asked.modeldna:
        try:
            tools["modeldna"] = ModelDna()
        except ImportError as missing:
            print(f"modeldna left out: {missing}", file=sys.stderr)
    return tools


def main():
    asked = arguments()
    sealed = open_answers(asked.answers, asked.cases)
    truths = {n: t for n, t in sealed["cases"].items() if asked.track in ("", t["track"])}
    tools, scores = chosen_tools(asked), []
    for name, tool in tools.items():
        with ThreadPoolExecutor(asked.jobs) as pool:
            for score in pool.map(lambda n, name=name, tool=tool: ask(name, tool, asked, n, truths[n]), truths):
                scores.append(score)
                if asked.verbose:
                    show(score, truths[score.case])
    print(f"{len(truths)} cases, seed {sealed['seed']}; {machine()}\n\n{summary(scores, truths, tools)}\n\n"
          f"False accusations:\n\n{accusations(scores, truths)}")
    if asked.json:
        results = [asdict(s) | {"truth": truths[s.case]} for s in scores]
        page = {"seed": sealed["seed"], "machine": machine(), "scores": results}
        asked.json.write_text(json.dumps(page, indent=1) + "\n")
    if asked.confusion:
        asked.confusion.write_text(confusion_page(asked, sealed, scores, truths, tools))
    return int(any(s.accused for s in scores if s.tool.split("-")[0] == "hieron"))


def show(score, truth):
    print(f"{score.case} {score.tool:8} {truth['family']:10} {truth['kind']:26} {score.kind:18} {score.points:6.2f} "
          f"{score.seconds:5.2f} s  {score.accused or score.failure}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Refused as refusal:
        sys.exit(f"score.py: {refusal}")
