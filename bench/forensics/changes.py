"""What is done to checkpoints: training made up, damage, edits. Tensors in, tensors out; every draw from `rng`.

`rng` is a NumPy generator. Sizes are in deviations of a change that real training made to the same tensor.
"""

import re

import numpy as np

from checkpoints import stored, values

ATTENTION_AND_MLP = re.compile(r"\.(q|k|v|o|gate|up|down)_proj\.weight$")
FFN = re.compile(r"^(.*)\.(gate|up|down)_proj\.weight$")
WRITES = re.compile(r"\.(o_proj|down_proj)\.weight$")


def each(tensors, change):
    """Every tensor through `change(name, float64 array)`, rounded once. None leaves it as it is."""
    made = {}
    for name, entry in tensors.items():
        new = change(name, values(entry))
        made[name] = entry if new is None else stored(new, entry[0])
    return made


def deviation(numbers):
    return float(np.sqrt(np.mean(numbers * numbers))) if numbers.size else 0.0


# ---- training, made up ----


def along(model, base, scale, noise, rng):
    """base + scale·(model − base) + noise: an earlier or later checkpoint of the training that made `model`."""
    def step(name, b):
        change = values(model[name]) - b
        return b + scale * change + noise * deviation(change) * rng.standard_normal(b.shape)
    return each(base, step)


def trained(model, base, like, size, rng):
    """model + fresh noise of `size` deviations of what made `like` from `base`, tensor by tensor."""
    return each(model, lambda name, x: x + size * deviation(values(like[name]) - values(base[name]))
                * rng.standard_normal(x.shape))


def mean(models):
    first, *others = models
    return each(first, lambda name, x: (x + sum(values(o[name]) for o in others)) / len(models))


def random_like(model, rng):
    """Normal numbers with each tensor's mean and deviation."""
    return each(model, lambda _, x: x.mean() + x.std() * rng.standard_normal(x.shape))


def rows_shuffled(model, rng):
    """The rows of each tensor in an order of its own: the same numbers, and no model any more."""
    return {name: (dtype, array[rng.permutation(len(array))] if array.ndim else array)
            for name, (dtype, array) in model.items()}


def low_rank(model, base, like, rank, targets, rng):
    """An adapter of `rank` merged into the tensors that match `targets`, as large as what made `like`."""
    def add(name, x):
        if x.ndim != 2 or not targets.search(name):
            return None
        update = rng.standard_normal((x.shape[0], rank)) @ rng.standard_normal((rank, x.shape[1]))
        return x + update * deviation(values(like[name]) - values(base[name])) / deviation(update)
    return each(model, add)


def noisy(model, base, size, rng):
    """A dense step of `size` deviations of the model's own change."""
    return trained(model, base, model, size, rng)


def some_retrained(model, base, share, rng):
    """A random `share` of all elements moved by a deviation of the model's own change."""
    def step(name, x):
        moved = rng.random(x.shape) < share
        return x + moved * deviation(x - values(base[name])) * rng.standard_normal(x.shape)
    return each(model, step)


def foreign_added(model, base, foreign, share):
    """A part of what another fine-tune changed."""
    return each(model, lambda name, x: x + share * (values(foreign[name]) - values(base[name])))


def one_retrained(model, base, which, size, rng):
    """The tensors of `which` alone moved."""
    def step(name, x):
        if name not in which:
            return None
        return x + size * deviation(x - values(base[name])) * rng.standard_normal(x.shape)
    return each(model, step)


def rows_retrained(model, base, which, rows, size, rng):
    def step(name, x):
        if name != which:
            return None
        x[rows] += size * deviation(x - values(base[name])) * rng.standard_normal(x[rows].shape)
        return x
    return each(model, step)


# ---- edits ----


def direction_removed(model, strength, hidden, rng):
    """One random direction less in whatever writes into the residual stream: W − strength·r·(rᵀW)."""
    r = rng.standard_normal(hidden)
    r /= np.linalg.norm(r)
    return each(model, lambda name, x: x - strength * np.outer(r, r @ x)
                if WRITES.search(name) and x.ndim == 2 and len(x) == hidden else None)


def pruned(model, share):
    """The smallest `share` of each matrix set to zero."""
    def prune(_, x):
        if x.ndim < 2:
            return None
        size = np.abs(x)
        return np.where(size < np.quantile(size, share), 0, x)
    return each(model, prune)


def quantised(model, bits, group):
    """Symmetric integers with the largest magnitude of each group of a row as scale, and back."""
    def trip(_, x):
        if x.ndim < 2 or x.shape[-1] % group:
            return None
        grouped = x.reshape(-1, group)
        scale = np.abs(grouped).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
        return (np.round(grouped / np.where(scale, scale, 1)) * scale).reshape(x.shape)
    return each(model, trip)


def truncated(model, share):
    """Each matrix without its smallest singular values: `share` of them stay."""
    def cut(_, x):
        if x.ndim != 2 or min(x.shape) < 8:
            return None
        u, s, v = np.linalg.svd(x, full_matrices=False)
        kept = max(1, round(share * len(s)))
        return (u[:, :kept] * s[:kept]) @ v[:kept]
    return each(model, cut)


def neurons_permuted(model, rng):
    """The hidden units of each feed-forward block in another order: the same function."""
    made, orders = dict(model), {}
    for name, (dtype, array) in model.items():
        if part := FFN.search(name):
            down = part[2] == "down"
            order = orders.setdefault(part[1], rng.permutation(array.shape[1 if down else 0]))
            made[name] = dtype, np.ascontiguousarray(array[:, order] if down else array[order])
    return made


# ---- formats ----


def trip(model, dtype):
    """To another dtype and back."""
    return {name: stored(values(stored(values(entry), dtype)), entry[0]) for name, entry in model.items()}


def cast(model, dtype):
    return {name: stored(values(entry), dtype) for name, entry in model.items()}
