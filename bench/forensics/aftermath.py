"""What happens to a merge before it is published, and what is done to a single model instead of merging.

A kind of AFTER turns a merge's tensors into a suspect; a kind of EDITS turns one model into one, and says what is right
about it: verdicts, the name of the edit, rank, strength.
"""

import re
from dataclasses import dataclass, field

import changes
from changes import FFN, WRITES

TARGETS = {"attention": r"\.[qkvo]_proj\.weight$", "q and v": r"\.[qv]_proj\.weight$",
           "mlp": r"\.(gate|up|down)_proj\.weight$", "all": r"_proj\.weight$"}
FORMATS = ("edit", "reformatted-copy")  # a trip through a narrower format is one or the other
MERGED = ("linear", "linear", "task_arithmetic", "slerp", "ties")  # methods of the merges that are changed


@dataclass
class Edit:
    suspect: dict
    verdicts: tuple
    method: str | None = None
    facts: dict = field(default_factory=dict)


# ---- after a merge: (merge, base, a fine-tune that took no part, draws, noise) → tensors ----


def dense(size):
    return lambda merge, base, foreign, rng, noise: changes.noisy(merge, base, size, noise)


def foreign_delta(merge, base, foreign, rng, noise):
    return changes.foreign_added(merge, base, foreign, 0.01)


def tenth_retrained(merge, base, foreign, rng, noise):
    return changes.some_retrained(merge, base, 0.1, noise)


def one_tensor(merge, base, foreign, rng, noise):
    return changes.one_retrained(merge, base, [rng.choice(changed_matrices(merge, base))], 0.3, noise)


def one_expert(merge, base, foreign, rng, noise):
    experts = sorted({m[0] for name in merge if (m := re.search(r".*\.experts\.\d+\.", name))})
    chosen = rng.choice(experts)
    return changes.one_retrained(merge, base, [n for n in merge if n.startswith(chosen)], 0.3, noise)


def few_rows(merge, base, foreign, rng, noise):
    name = rng.choice(changed_matrices(merge, base))
    count = len(merge[name][1])
    return changes.rows_retrained(merge, base, name, rng.sample(range(count), min(count, rng.randint(1, 4))), 1, noise)


def int8_trip(merge, base, foreign, rng, noise):
    return changes.quantised(merge, 8, rng.choice([16, 32]))


def f16_trip(merge, base, foreign, rng, noise):
    return changes.trip(merge, "F16")


def changed_matrices(merge, base):
    return sorted(n for n, (_, a) in merge.items() if a.ndim >= 2 and a.size >= 1000 and
                  changes.deviation(changes.values(merge[n]) - changes.values(base[n])) > 0)


AFTER = {"noise 1e-4": dense(1e-4), "noise 1e-3": dense(1e-3), "noise 1e-2": dense(1e-2),
         "foreign 1 %": foreign_delta, "10 % retrained": tenth_retrained, "one tensor": one_tensor,
         "one expert": one_expert, "few rows": few_rows, "int8 trip": int8_trip, "f16 trip": f16_trip}


def after_kinds(family):
    own = family.dtype
    return [kind for kind in AFTER if (kind != "one expert" or family.experts) and (kind != "f16 trip" or own != "F16")]


# ---- edits of one model: (model, like, family, draws, noise) → Edit; `like`: a fine-tune, for its size ----


def adapter(model, like, family, rng, noise):
    rank = rng.choice([1, 2, 4, 8, 16])
    targets = re.compile(TARGETS[rng.choice(list(TARGETS))] if family.layers else "")
    made = changes.low_rank(model, family.tensors(family.base), like, rank, targets, noise)
    return Edit(made, ("edit",), "low-rank", {"rank": rank})


def direction(model, like, family, rng, noise):
    strength = rng.choice([1.0, round(rng.uniform(0.3, 0.9), 2)])
    made = changes.direction_removed(model, strength, family.config["hidden_size"], noise)
    return Edit(made, ("edit",), "direction-removed", {"strength": strength})


def pruning(model, like, family, rng, noise):
    return Edit(changes.pruned(model, round(rng.uniform(0.1, 0.7), 2)), ("edit",), "pruned")


def integers(model, like, family, rng, noise):
    return Edit(changes.quantised(model, rng.choice([4, 8]), rng.choice([16, 32])), FORMATS, "requantised")


def f16_there_and_back(model, like, family, rng, noise):
    return Edit(changes.trip(model, "F16"), (*FORMATS, "copy"), "dtype-trip")


def other_dtype(model, like, family, rng, noise):
    other = rng.choice([d for d in ("F32", "F16", "BF16") if d != family.dtype])
    return Edit(changes.cast(model, other), ("copy", *FORMATS), "dtype-trip")


def singular_values(model, like, family, rng, noise):
    return Edit(changes.truncated(model, round(rng.uniform(0.25, 0.9), 2)), ("edit",), "truncated")


def neurons(model, like, family, rng, noise):
    return Edit(changes.neurons_permuted(model, noise), ("obfuscated-copy",))


def nothing(model, like, family, rng, noise):
    return Edit(model, ("copy",))


EDITS = {"adapter": adapter, "direction removed": direction, "pruned": pruning, "integers and back": integers,
         "f16 and back": f16_there_and_back, "other dtype": other_dtype, "truncated": singular_values,
         "neurons permuted": neurons, "copy": nothing}


def edit_kinds(family):
    names = list(family.tensors(family.base))
    lacking = {"direction removed": not ("hidden_size" in family.config and any(WRITES.search(n) for n in names)),
               "neurons permuted": not any(FFN.search(n) for n in names), "f16 and back": family.dtype == "F16"}
    return [kind for kind in EDITS if not lacking.get(kind)]
