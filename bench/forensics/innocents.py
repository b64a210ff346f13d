"""Innocents: suspects that are no merge of the candidates offered, each of a kind that fools a published tool.

A kind is a function of a `Scene` that returns an Innocent: the suspect's tensors, the candidates among which the wrong
ones are drawn (the first ones always offered), and the verdicts that are right. `undetermined` is right only where the
bytes cannot say more.
"""

import re
from dataclasses import dataclass, field

import changes
from changes import ATTENTION_AND_MLP
from recipes import DTYPES, Recipe

WRONG = 4  # most wrong candidates of a case


@dataclass
class Innocent:
    suspect: object               # tensors, or a Recipe to merge
    verdicts: tuple = ("fine-tune",)
    always: tuple = ()            # candidates without which the case is another one
    involved: tuple = ()          # which of the candidates a verdict may name: they did take part
    never: tuple = ()             # fine-tunes that would not be wrong candidates
    offers_base: bool | None = None  # None: with and without


@dataclass
class Scene:
    """What a kind builds from: a family, draws, and one fine-tune as its subject."""

    family: object
    rng: object    # random.Random, for parameters
    noise: object  # NumPy generator
    merged: object  # Recipe → tensors
    subject: str = ""
    other: str = ""
    made: dict = field(default_factory=dict)  # name: tensors of candidates that are no member of the family

    def tensors(self, name):
        return self.made[name] if name in self.made else self.family.tensors(name)

    @property
    def base(self):
        return self.family.tensors(self.family.base)

    def blend(self, *shares):
        """A linear merge of (name, weight), made by the merge engine."""
        models = [(name, {"weight": weight}) for name, weight in shares]
        return self.merged(Recipe("linear", "linear", models, dtype=DTYPES[self.family.dtype]))

    def pick(self, *choices):
        return self.rng.choice(choices)


def sibling(scene):
    return Innocent(scene.tensors(scene.subject), never=(scene.subject,))


def synthetic_fine_tune(scene):
    size = scene.pick(0.1, 0.3, 1, 3)
    return Innocent(changes.trained(scene.base, scene.base, scene.tensors(scene.subject), size, scene.noise))


def adapter_fine_tune(scene):
    made = changes.low_rank(scene.base, scene.base, scene.tensors(scene.subject), scene.pick(1, 4, 16),
                            ATTENTION_AND_MLP if scene.family.layers else re.compile(""), scene.noise)
    return Innocent(made, ("fine-tune", "edit"), involved=(scene.family.base,))


def earlier_checkpoint(scene):
    made = changes.along(scene.tensors(scene.subject), scene.base, scene.rng.uniform(0.5, 0.9), 0.2, scene.noise)
    return Innocent(made, always=(scene.subject,))


def later_checkpoint(scene):
    made = changes.along(scene.tensors(scene.subject), scene.base, scene.rng.uniform(1.05, 1.3), 0.1, scene.noise)
    return Innocent(made, always=(scene.subject,))


def further_fine_tune(scene):
    subject = scene.tensors(scene.subject)
    made = changes.trained(subject, scene.base, subject, scene.pick(0.05, 0.2, 0.5), scene.noise)
    return Innocent(made, always=(scene.subject,))


def averaged_checkpoints(scene):
    subject = scene.tensors(scene.subject)
    made = changes.mean([changes.along(subject, scene.base, s, 0.2, scene.noise) for s in (0.8, 0.9, 1)])
    return Innocent(made, never=(scene.subject,))


def dtype_trip(scene):
    """f16 and back, or a file of another dtype; the fine-tune itself is not offered."""
    subject = scene.tensors(scene.subject)
    made = changes.trip(subject, "F16") if scene.rng.random() < 0.5 else changes.cast(subject, scene.pick("F16", "F32"))
    return Innocent(made, never=(scene.subject,))


def rows_shuffled(scene):
    return Innocent(changes.rows_shuffled(scene.tensors(scene.subject), scene.noise),
                    ("fine-tune", "independent", "undetermined"), never=(scene.subject,))


def random_numbers(scene):
    return Innocent(changes.random_like(scene.base, scene.noise), ("independent",))


def independent_run(scene):
    return Innocent(scene.tensors(scene.family.strangers[0]), ("independent",))


def base_through_its_fine_tunes(scene):
    return Innocent(scene.base, offers_base=False)


def base_through_a_merge(scene):
    alpha = round(scene.rng.uniform(0.3, 0.8), 2)
    scene.made["child"] = scene.blend((scene.subject, alpha), (scene.family.base, round(1 - alpha, 2)))
    return Innocent(scene.base, ("fine-tune", "undetermined"), always=("child", scene.subject), offers_base=False)


def parent_through_its_child(scene):
    alpha = round(scene.rng.uniform(0.3, 0.8), 2)
    scene.made["child"] = scene.blend((scene.subject, alpha), (scene.other, round(1 - alpha, 2)))
    return Innocent(scene.tensors(scene.subject), ("fine-tune", "undetermined"), always=("child", scene.other),
                    never=(scene.subject,))


def parent_through_its_sparse_child(scene):
    """The child has some of the parent's changes, at random or the largest, alone or with those of another model."""
    method = scene.pick("dare_linear", "dare_ties", "ties", "breadcrumbs")
    models = [(name, {"weight": round(scene.rng.uniform(0.3, 1.1), 2), "density": round(scene.rng.uniform(0.2, 0.9), 2)})
              for name in (scene.subject, scene.other)[:scene.pick(1, 2)]]
    scene.made["child"] = scene.merged(Recipe(method, method, models, scene.family.base,
                                              dtype=DTYPES[scene.family.dtype]))
    return Innocent(scene.tensors(scene.subject), ("fine-tune", "undetermined"), always=("child",),
                    never=(scene.subject, scene.other), offers_base=True)


def parents_missing(scene):
    alpha = round(scene.rng.uniform(0.3, 0.7), 2)
    made = scene.blend((scene.subject, alpha), (scene.other, round(1 - alpha, 2)))
    return Innocent(made, ("fine-tune", "undetermined"), never=(scene.subject, scene.other))


def one_parent_missing(scene):
    alpha = round(scene.rng.uniform(0.3, 0.7), 2)
    made = scene.blend((scene.subject, alpha), (scene.other, round(1 - alpha, 2)))
    return Innocent(made, ("merge-with-changes", "fine-tune", "undetermined"), always=(scene.subject,),
                    involved=(scene.subject,), never=(scene.other,))


KINDS = {kind.__name__: kind for kind in (
    sibling, synthetic_fine_tune, adapter_fine_tune, earlier_checkpoint, later_checkpoint, further_fine_tune,
    averaged_checkpoints, dtype_trip, rows_shuffled, random_numbers, independent_run, base_through_its_fine_tunes,
    base_through_a_merge, parent_through_its_child, parent_through_its_sparse_child, parents_missing, one_parent_missing)}


def kinds(family):
    return [kind for kind in KINDS if kind != "independent_run" or family.strangers]
