"""Random recipes: every method that `hieron methods` lists, in the forms in which people use them.

`draw(kind, rng, family)` gives one recipe; its parameters, parents, their order, the arithmetic and the output's dtype
are random. KINDS lists what there is to draw. A kind is a method, or METHOD:FORM.
"""

import re
from dataclasses import dataclass, field

import numpy as np

SUMS = ("linear", "task_arithmetic")  # have the element-wise arithmetics
OURS = ("weighted_sum", "add_difference", "train_difference", "geometric_median", "direction_removal")
DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
MASKED = ("ties", "dare_linear", "dare_ties", "della", "della_linear", "breadcrumbs", "breadcrumbs_ties")
RANDOM = ("dare_linear", "dare_ties", "della", "della_linear")
BY_DEFAULT_NORMALIZED = ("ties", "della")
FORMS = {"linear": ("gradient", "filters", "restacked", "pool"), "task_arithmetic": ("gradient", "pool"),
         "ties": ("gradient",), "slerp": ("curves",), "passthrough": ("stack", "exchange")}
LEAST = {"geometric_median": 3}  # fine-tunes it takes
ANYWHERE = ("filters", "pool")  # forms that need no layers
NESTED = ("linear", "slerp", "task_arithmetic", "ties")  # methods of an unpublished merge that is merged again


@dataclass
class Recipe:
    """What is merged, by names of models; and what an answer about it is compared with."""

    kind: str
    method: str
    models: list = field(default_factory=list)  # (name, parameters)
    base: str | None = None
    parameters: dict = field(default_factory=dict)
    slices: list | None = None                  # [[(name, first, last, parameters), …], …] instead of models
    dtype: str = "bfloat16"
    arithmetic: str = "exact"
    seed: int | None = None
    shares: dict | None = None                  # name: its weight in the result, where the method has one for all
    ratios_only: bool = False                   # only the ratios of the shares leave a trace
    base_counts: bool = True                    # the base has a share of its own
    varies: bool = False                        # by layer or tensor
    verdicts: tuple = ("exact-merge",)

    def names(self):
        """Every model that takes part, once."""
        listed = [source[0] for part in self.slices for source in part] if self.slices else [m for m, _ in self.models]
        return list(dict.fromkeys(listed + ([self.base] if self.base and self.base_counts else [])))

    def document(self, path):
        """mergekit's language, as a tree; `path` turns a name into a path."""
        tree = {"merge_method": self.method}
        if self.slices:
            tree["slices"] = [{"sources": [{"model": path(name), "layer_range": [first, last]}
                                           | ({"parameters": given} if given else {})
                                           for name, first, last, given in part]} for part in self.slices]
        else:
            tree["models"] = [{"model": path(name)} | ({"parameters": given} if given else {})
                              for name, given in self.models]
        if self.base:
            tree["base_model"] = path(self.base)
        if self.parameters:
            tree["parameters"] = self.parameters
        tree["dtype"] = self.dtype
        tree["hieron"] = {"arithmetic": self.arithmetic} | ({} if self.seed is None else {"seed": self.seed})
        return tree


def kinds(family):
    """What can be drawn from a family, each once."""
    found = []
    for method in METHODS:
        if method == "direction_removal" and not family.config.get("hidden_size"):
            continue  # a recurrent network writes into no residual stream
        if len(family.tunes) < LEAST.get(method, 2):
            continue
        found.append(method)
        found += [f"{method}:{form}" for form in FORMS.get(method, ())
                  if form in ANYWHERE or family.layers > 1]
    return found + [f"nested:{method}" for method in NESTED if len(family.tunes) > 2]


def draw(kind, rng, family, models=None):
    """`models`: to choose from instead of the fine-tunes."""
    method, _, form = kind.partition(":")
    hand = Hand(rng, family, list(models or family.tunes))
    recipe = FORM_DRAWS[kind](hand) if form else METHODS[method](hand)
    recipe.kind = kind
    recipe.dtype = hand.dtype()
    recipe.arithmetic = hand.arithmetic(recipe)
    if method in RANDOM:
        recipe.seed = rng.choice([rng.randrange(1000), rng.randrange(1 << 20), rng.randrange(1 << 32)])
    if recipe.shares:
        recipe.shares = {name: share for name, share in recipe.shares.items() if abs(share) > 1e-9}
    return recipe


class Hand:
    """What draws one recipe's parts."""

    def __init__(self, rng, family, models):
        self.rng, self.family, self.pool, self.base = rng, family, models, family.base

    def decimal(self, low, high, digits=2):
        return round(self.rng.uniform(low, high), digits)

    def models(self, least, most):
        return self.rng.sample(self.pool, self.rng.randint(least, min(most, len(self.pool))))

    def shares(self, count, digits=None):
        """Positive decimals that sum to one, none below a twentieth."""
        digits = digits or self.rng.choice([1, 2, 2, 2, 3])
        unit = 10 ** max(digits, 2 if count > 4 else 1)
        while True:
            cuts = sorted(self.rng.sample(range(1, unit), count - 1))
            parts = [b - a for a, b in zip([0, *cuts], [*cuts, unit])]
            if min(parts) >= unit / 20 or count > 8:
                return [part / unit for part in parts]

    def free(self, count):
        return [self.decimal(0.2, 1.2) for _ in range(count)]

    def share_of_changes(self):
        return self.decimal(0.2, 0.9)

    def own_dtype(self):
        return DTYPES[self.family.dtype]

    def dtype(self):
        return self.rng.choice([self.own_dtype()] * 8 + ["float32", "float16"])

    def arithmetic(self, recipe):
        """As drawn; where no program computes the method so, the merge falls back to exact."""
        if recipe.method in OURS:
            return "exact"
        choice = ["exact", "exact", "exact", "mergekit-0.1.5", "mergekit-0.1.5", "mergekit-0.1.4"]
        if recipe.method in SUMS and not recipe.slices:
            choice += ["f32-once", "f32-fma"] * 2
            if recipe.dtype == "bfloat16":
                choice += ["bf16-products", "bf16-delta" if recipe.method == "task_arithmetic" else "bf16-products"]
            if recipe.method == "linear" and len(recipe.models) == 2 and recipe.parameters.get("normalize", True):
                choice.append("f32-lerp")
        return self.rng.choice(choice)

    def curve(self, low, high):
        return [self.decimal(low, high, 1) for _ in range(self.rng.randint(2, min(5, self.family.layers)))]

    def filters(self):
        """Two parts of tensor names, each of which some tensors have and some have not."""
        names = list(self.family.tensors(self.base))
        if self.family.layers:
            return ["self_attn", "mlp"]
        words = sorted({word for name in names for word in re.split(r"[./]", name)})
        words = [w for w in words if w and 0 < sum(w in name for name in names) < len(names)]
        return self.rng.sample(words, 2)


# ---- weighted sums ----


def weighted(names, weights, **more):
    return [(name, {"weight": weight} | more) for name, weight in zip(names, weights)]


def linear(hand):
    names = hand.models(2, 4)
    if hand.rng.random() < 0.3:  # the base is a parent like any other
        names = [*names[:3], hand.base]
        hand.rng.shuffle(names)
    form = hand.rng.choice(["shares", "shares", "shares", "equal", "free", "sum", "negative"])
    count, parameters = len(names), {}
    if form == "equal":
        weights = [1.0] * count
    elif form == "negative":
        over = hand.decimal(0.1, 0.5)
        weights = [round((1 + over) * s, 4) for s in (hand.shares(count - 1, 2) if count > 2 else [1])] + [-over]
    else:
        weights = hand.shares(count) if form == "shares" else hand.free(count)
    if form == "sum":
        parameters["normalize"] = False
    total = 1 if form == "sum" else sum(weights)
    return Recipe("", "linear", weighted(names, weights), parameters=parameters,
                  shares={name: w / total for name, w in zip(names, weights)})


def weighted_sum(hand):
    first, second = hand.models(2, 2)
    alpha = hand.decimal(0.1, 0.9)
    return Recipe("", "weighted_sum", [(first, {}), (second, {})], parameters={"alpha": alpha},
                  shares={first: 1 - alpha, second: alpha})


def add_difference(hand):
    first, second = hand.models(2, 2)
    alpha = hand.decimal(0.2, 1.1)
    return Recipe("", "add_difference", [(first, {}), (second, {})], hand.base, {"alpha": alpha},
                  shares={first: 1, second: alpha})


def train_difference(hand):
    first, second = hand.models(2, 2)
    return Recipe("", "train_difference", [(first, {}), (second, {})], hand.base, {"alpha": hand.decimal(0.2, 1)})


def task_arithmetic(hand):
    names, parameters, scale = hand.models(1, 3), {}, 1
    weights = hand.free(len(names)) if hand.rng.random() < 0.6 else hand.shares(max(2, len(names)))[: len(names)]
    if hand.rng.random() < 0.4:
        parameters["lambda"] = scale = hand.decimal(0.3, 1.5)
    shares = {name: w * scale for name, w in zip(names, weights)}
    return Recipe("", "task_arithmetic", weighted(names, weights), hand.base, parameters, shares=shares,
                  base_counts=abs(sum(shares.values()) - 1) > 1e-9)


def passthrough(hand):
    (name,) = hand.models(1, 1)
    scale = hand.rng.choice([hand.decimal(0.3, 0.95), hand.decimal(1.05, 1.5), 0.7071])
    return Recipe("", "passthrough", [(name, {"scale": scale})], shares={name: scale}, verdicts=("edit", "exact-merge"))


# ---- methods with an angle, a mean, or nothing to choose ----


def slerp(hand):
    first, second = hand.models(2, 2)
    t = hand.decimal(0.1, 0.9)
    if hand.rng.random() < 0.3:
        first = hand.base
    models = hand.rng.choice([[(first, {}), (second, {})], [(second, {}), (first, {})]])
    return Recipe("", "slerp", models, first, {"t": t}, shares={first: 1 - t, second: t})


def nuslerp(hand):
    names = hand.models(2, 2)
    weights = hand.rng.choice([hand.shares(2), hand.free(2)])
    parameters = hand.rng.choice([{}, {}, {"nuslerp_flatten": False},
                                  {"nuslerp_flatten": False, "nuslerp_row_wise": True}])
    return Recipe("", "nuslerp", weighted(names, weights), hand.rng.choice([None, None, hand.base]), dict(parameters),
                  shares={name: w / sum(weights) for name, w in zip(names, weights)}, ratios_only=True)


def multislerp(hand):
    names = hand.models(2, 4)
    weights = hand.rng.choice([hand.shares(len(names)), hand.free(len(names))])
    return Recipe("", "multislerp", weighted(names, weights), hand.rng.choice([None, hand.base]),
                  shares={name: w / sum(weights) for name, w in zip(names, weights)}, ratios_only=True)


def plain(method, least, most, base=False, parameters=lambda hand: {}):
    """Models without parameters of their own."""
    def drawn(hand):
        models = [(name, {}) for name in hand.models(least, most)]
        return Recipe("", method, models, hand.base if base else None, parameters(hand))
    return drawn


def nearswap_t(hand):
    """A distance that about half of the changes exceed, two digits."""
    family = hand.family
    largest = max(family.tensors(hand.base).items(), key=lambda entry: entry[1][1].size)[0]
    middle = np.median(np.abs(family.change(family.tunes[0], largest)))
    return {"t": float(f"{middle * hand.rng.uniform(0.5, 2):.1e}")}


def stock(hand):
    return {"filter_wise": True} if hand.rng.random() < 0.4 else {}


def overlap(hand):
    return {"r": hand.decimal(0.05, 0.5), "alpha": hand.decimal(0.1, 0.5)}


def direction_removal(hand):
    """The vector's file is made by whoever makes the case: `vector` holds its seed till then."""
    (name,) = hand.models(1, 1)
    parameters = {"vector": hand.rng.randrange(1 << 32), "strength": hand.rng.choice([1.0, hand.decimal(0.3, 0.95)])}
    if hand.rng.random() < 0.5:
        parameters["preserve_norm"] = False
    return Recipe("", "direction_removal", [(name, {})], parameters=parameters, verdicts=("edit", "exact-merge"))


# ---- masks ----


def masked(method):
    def drawn(hand):
        names = hand.models(1 if method not in ("dare_ties", "della") else 2, 3)
        weights = hand.free(len(names)) if hand.rng.random() < 0.5 else hand.shares(max(2, len(names)))[: len(names)]
        together = hand.share_of_changes()
        densities = [together if hand.rng.random() < 0.7 else hand.share_of_changes() for _ in names]
        more = {}
        if method.startswith("della"):
            more["epsilon"] = hand.decimal(0.02, 0.1)
            densities = [min(d, 0.85) for d in densities]
        if method.startswith("breadcrumbs"):
            more["gamma"] = hand.rng.choice([0.01, 0.02, 0.03])
            densities = [min(d, 0.9) for d in densities]
        parameters, scale = {}, 1
        normalized = method in BY_DEFAULT_NORMALIZED
        if hand.rng.random() < 0.3:
            normalized = parameters["normalize"] = hand.rng.random() < 0.5
        if hand.rng.random() < 0.3:
            parameters["lambda"] = scale = hand.decimal(0.4, 1.5)
        if method in RANDOM and hand.rng.random() < 0.15:
            parameters["rescale"] = False
        models = [(n, {"weight": w, "density": d} | more) for n, w, d in zip(names, weights, densities)]
        shares = {n: w * scale for n, w in zip(names, weights)}
        lost = normalized and len(names) == 1  # one weight, divided by itself
        return Recipe("", method, models, hand.base, parameters, shares=None if lost else shares,
                      ratios_only=normalized,
                      verdicts=("exact-merge", "merge-with-changes") if method in RANDOM else ("exact-merge",))
    return drawn


# ---- by layer, by name ----


def graded(recipe, hand, key="weight"):
    for _, given in recipe.models:
        given[key] = hand.curve(0.1, 1)
    recipe.shares, recipe.varies = None, True
    return recipe


def linear_gradient(hand):
    return graded(linear_of_two_or_three(hand), hand)


def linear_of_two_or_three(hand):
    names = hand.models(2, 3)
    return Recipe("", "linear", weighted(names, hand.free(len(names))))


def linear_filters(hand):
    recipe = linear_of_two_or_three(hand)
    filters = hand.filters()
    for _, given in recipe.models:
        given["weight"] = [{"filter": f, "value": hand.decimal(0.1, 1)} for f in filters] + [
            {"value": hand.decimal(0.1, 1)}]
    recipe.varies = True
    return recipe


def task_gradient(hand):
    names = hand.models(1, 3)
    return graded(Recipe("", "task_arithmetic", weighted(names, hand.free(len(names))), hand.base), hand)


def ties_gradient(hand):
    recipe = masked("ties")(hand)
    if len(recipe.models) > 1:
        recipe = graded(recipe, hand)
    for _, given in recipe.models:
        given["density"] = hand.curve(0.3, 0.9)
    recipe.varies = True
    return recipe


def slerp_curves(hand):
    recipe = slerp(hand)
    rise = [0, *(hand.decimal(0.2, 0.8, 1) for _ in range(min(3, hand.family.layers - 2))), 1]
    recipe.parameters["t"] = [{"filter": "self_attn", "value": rise},
                              {"filter": "mlp", "value": [round(1 - t, 1) for t in rise]}, {"value": 0.5}]
    recipe.shares, recipe.varies = None, True
    return recipe


# ---- many, and merges of merges ----


def linear_pool(hand):
    names = hand.models(2, 8)
    weights = hand.shares(len(names), 2)
    return Recipe("", "linear", weighted(names, weights), shares=dict(zip(names, weights)))


def task_pool(hand):
    names = hand.models(2, 8)
    weights = hand.free(len(names))
    return Recipe("", "task_arithmetic", weighted(names, weights), hand.base, shares=dict(zip(names, weights)),
                  base_counts=abs(sum(weights) - 1) > 1e-9)


def nested(kind, rng, family):
    """An inner recipe, and one that merges its result, called `inner`, with another fine-tune."""
    third = rng.choice(family.tunes)
    inner = draw(kind.partition(":")[2], rng, family, [name for name in family.tunes if name != third])
    inner.dtype = Hand(rng, family, []).own_dtype()
    share = round(rng.uniform(0.3, 0.8), 2)
    outer = Recipe(kind, "linear", weighted(["inner", third], [share, round(1 - share, 2)]), dtype=inner.dtype)
    if inner.shares and not inner.ratios_only:
        outer.shares = {name: w * share for name, w in inner.shares.items()} | {third: 1 - share}
    return inner, outer


# ---- layers ----


def stack(hand):
    """Two or three ranges of layers of two models; the last range repeats or moves at least one layer."""
    first, second = hand.models(2, 2)
    count = hand.family.layers
    middle = hand.rng.randint(max(1, count // 2), count - 1)
    again = hand.rng.randint(1, middle - 1) if middle > 1 else 0
    parts = [[(first, 0, middle, {})], [(second, again, count, {})]]
    if middle == again:
        parts[1] = [(second, middle - 1, count, {})]
    return Recipe("", "passthrough", slices=parts, verdicts=("layer-stack",), varies=True)


def exchange(hand):
    """Each layer from one of two models, at its own place."""
    pair, count = hand.models(2, 2), hand.family.layers
    origin = [hand.rng.choice(pair) for _ in range(count)]
    origin[0], origin[-1] = pair
    parts = [[(name, layer, layer + 1, {})] for layer, name in enumerate(origin)]
    return Recipe("", "passthrough", slices=parts, varies=True)


def restacked(hand):
    """A merge of two models, layer by layer, with some layers twice."""
    pair, count = hand.models(2, 2), hand.family.layers
    weights = hand.shares(2, 2)
    middle = hand.rng.randint(max(2, count // 2), count)
    ranges = [(0, middle), (hand.rng.randint(1, middle - 1), count)]
    parts = [[(name, first, last, {"weight": w}) for name, w in zip(pair, weights)] for first, last in ranges]
    return Recipe("", "linear", slices=parts, shares=dict(zip(pair, weights)), verdicts=("exact-merge", "layer-stack"),
                  varies=True)


METHODS = {
    "linear": linear, "slerp": slerp, "nuslerp": nuslerp, "multislerp": multislerp,
    "karcher": plain("karcher", 2, 4), "task_arithmetic": task_arithmetic,
    **{method: masked(method) for method in MASKED},
    "model_stock": plain("model_stock", 2, 4, True, stock), "nearswap": plain("nearswap", 1, 1, True, nearswap_t),
    "sce": plain("sce", 2, 4, True, lambda hand: {"select_topk": hand.decimal(0.1, 1, 1)}),
    "arcee_fusion": plain("arcee_fusion", 1, 1, True), "ram": plain("ram", 2, 3, True),
    "ramplus_tl": plain("ramplus_tl", 2, 3, True, overlap), "passthrough": passthrough,
    "weighted_sum": weighted_sum, "add_difference": add_difference, "train_difference": train_difference,
    "geometric_median": plain("geometric_median", 3, 4), "direction_removal": direction_removal,
}

FORM_DRAWS = {
    "linear:gradient": linear_gradient, "linear:filters": linear_filters, "linear:restacked": restacked,
    "linear:pool": linear_pool, "task_arithmetic:pool": task_pool,
    "task_arithmetic:gradient": task_gradient, "ties:gradient": ties_gradient, "slerp:curves": slerp_curves,
    "passthrough:stack": stack, "passthrough:exchange": exchange,
}
