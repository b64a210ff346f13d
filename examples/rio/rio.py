#!/usr/bin/env python3
"""The case: one alpha and one rounding to bf16 give all seven published pairs. See docs/case-rio.md.

For a checkpoint C suspected to be a blend of A and its base B, hand scripts published, per tensor, the least-squares
slope and the cosine of x = A - B and y = C - B:

    alpha_ls = <x, y> / <x, x>          cos = <x, y> / (|x| |y|)

The slopes differ from tensor to tensor. Here C = bf16(alpha A + (1 - alpha) B) is simulated with one alpha for all
tensors. The only thing that is free per tensor is how large the change x is in units of the last place of B; the
published cosine fixes it, and the slope can be read off.

usage:  /usr/bin/python3 examples/rio/rio.py [--svg FILE]        NumPy only; deterministic; a few seconds
"""

import argparse

import numpy as np

SEED = 20260614
ELEMENTS = 150_000

PUBLISHED = [  # tensor, slope, cosine
    ("router, layer 0", 0.573, 0.992),
    ("router, layer 15", 0.647, 0.962),
    ("router, layer 30", 0.627, 0.967),
    ("router, layer 45", 0.582, 0.987),
    ("router, layer 59", 0.567, 0.997),
    ("shared-expert gate, layer 0", 0.568, 0.997),
    ("shared-expert gate, layer 30", 0.581, 0.988),
]
ALPHAS = np.round(np.arange(0.550, 0.6101, 0.0025), 4)
SHAPES = ["Gaussian", "Laplace", "Student t4"]
RATIOS = np.geomspace(1, 24, 32)  # standard deviation of the change, in ulps of a weight of typical size


def bf16(values):
    """Round to nearest bf16, ties to even; the result as float32."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = bits + (((bits >> 16) & 1) + 0x7FFF)
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


def changes(shape, rng):
    """Noise of unit variance: what a fine-tune's change may look like."""
    if shape == "Gaussian":
        return rng.standard_normal(ELEMENTS)
    if shape == "Laplace":
        return rng.laplace(scale=np.sqrt(0.5), size=ELEMENTS)
    return rng.standard_t(4, size=ELEMENTS) / np.sqrt(2)


def slope_and_cosine(a, b, alpha):
    """What the hand scripts would print for the blend of stored a and b, computed in f32 and rounded once."""
    c = bf16(np.float32(alpha) * a + np.float32(1 - alpha) * b)
    x, y = a.astype(np.float64) - b, c.astype(np.float64) - b
    xx, yy, xy = x @ x, y @ y, x @ y
    return xy / xx, xy / np.sqrt(xx * yy)


def curves(shape):
    """{alpha: (slopes, cosines)} over RATIOS, with the same random numbers everywhere."""
    rng = np.random.default_rng([SEED, SHAPES.index(shape)])
    scale = 0.02
    b = bf16(scale * rng.standard_normal(ELEMENTS))
    noise = changes(shape, rng)
    ulp = scale * 2.0**-8
    pairs = {alpha: [] for alpha in ALPHAS}
    for ratio in RATIOS:
        a = bf16(b + ratio * ulp * noise)
        for alpha in ALPHAS:
            pairs[alpha].append(slope_and_cosine(a, b, alpha))
    return {alpha: tuple(np.array(p).T) for alpha, p in pairs.items()}


def rising(curve):
    """(ratios, slopes, cosines) from the lowest cosine on, where larger changes mean a larger cosine.

    Below it, at changes of about one ulp, the blend snaps to A: the cosine rises again, but the slope is then
    above 0.7 whatever the alpha, and no published slope of a matrix is.
    """
    slopes, cosines = curve
    first = int(np.argmin(cosines))
    return RATIOS[first:], slopes[first:], cosines[first:]


def read_off(curve, cosine):
    """(ratio, slope) where the curve has this cosine."""
    ratios, slopes, cosines = rising(curve)
    return (np.exp(np.interp(cosine, cosines, np.log(ratios))), np.interp(cosine, cosines, slopes))


def rmse(curve):
    errors = [read_off(curve, cosine)[1] - slope for _, slope, cosine in PUBLISHED]
    return float(np.sqrt(np.mean(np.square(errors))))


def norm_slope(alpha, relative_change):
    """The slope on a norm vector: values between one and two, changes near one ulp (1/128 there)."""
    rng = np.random.default_rng([SEED, 99])
    b = bf16(1.25 + 0.05 * rng.standard_normal(ELEMENTS))
    a = bf16(b * (1 + relative_change * rng.standard_normal(ELEMENTS)))
    return slope_and_cosine(a, b, alpha)[0]


def print_tables(by_shape, best):
    gaussian = by_shape["Gaussian"]
    print(f"One alpha = {best:.4g} for all tensors, one rounding to bf16, Gaussian changes:\n")
    print(f"  {'tensor':30}{'cos':>7}{'change/ulp':>12}{'slope':>9}{'published':>11}{'error':>9}")
    for tensor, slope, cosine in PUBLISHED:
        ratio, simulated = read_off(gaussian[best], cosine)
        print(f"  {tensor:30}{cosine:7.3f}{ratio:12.2f}{simulated:9.4f}{slope:11.3f}{simulated - slope:+9.4f}")
    print("\nRoot mean square error of the seven slopes, against the one alpha:\n")
    print(f"  {'alpha':>6}" + "".join(f"{shape:>13}" for shape in SHAPES))
    for alpha in (0.55, 0.555, 0.56, 0.5625, 0.565, 0.5675, 0.57, 0.575, 0.58, 0.59, 0.6, 0.61):
        print(f"  {alpha:6.4g}" + "".join(f"{rmse(by_shape[s][alpha]):13.4f}" for s in SHAPES))
    print("\nSmallest error:  " +
          ",  ".join(f"{s} {min(by_shape[s], key=lambda a: rmse(by_shape[s][a])):.4g}" for s in SHAPES))
    print(f"\nNorm vectors (values between 1 and 2) under the same alpha = {best:.4g}:\n")
    print(f"  {'relative change':>16}{'change/ulp':>12}{'slope':>9}")
    for change in (0.002, 0.003, 0.004, 0.005, 0.01, 0.02):
        print(f"  {change:16.3f}{change * 1.25 * 128:12.2f}{norm_slope(best, change):9.3f}")


STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .small { font-size: 12px; }
  .faint { fill: #59636e; }
  .title { font-size: 15px; font-weight: 600; }
  .axis { stroke: #59636e; stroke-width: 1; }
  .grid { stroke: #d1d9e0; stroke-width: 1; }
  .other { fill: none; stroke: #8c959f; stroke-width: 1.25; }
  .found { fill: none; stroke: #0969da; stroke-width: 2.5; }
  .found-text { fill: #0969da; font-weight: 600; }
  .point { fill: #bc4c00; stroke: #ffffff; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .faint { fill: #9198a1; } .axis { stroke: #9198a1; } .grid { stroke: #30363d; }
    .other { stroke: #6e7681; } .found { stroke: #58a6ff; } .found-text { fill: #58a6ff; }
    .point { fill: #f0883e; stroke: #0d1117; }
  }
"""


class Panel:
    """A rectangle of the drawing with linear axes; collects SVG elements."""

    def __init__(self, left, top, width, height, x_range, y_range):
        self.left, self.top, self.width, self.height = left, top, width, height
        self.x_range, self.y_range = x_range, y_range
        self.svg = []

    def x(self, value):
        low, high = self.x_range
        return self.left + self.width * (value - low) / (high - low)

    def y(self, value):
        low, high = self.y_range
        return self.top + self.height * (high - value) / (high - low)

    def axes(self, x_ticks, y_ticks, x_label, title):
        bottom = self.top + self.height
        for tick in y_ticks:
            y = self.y(tick)
            self.svg.append(f'<line class="grid" x1="{self.left}" y1="{y:.1f}" x2="{self.left + self.width}" y2="{y:.1f}"/>')
            self.svg.append(f'<text class="small faint" x="{self.left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
        self.svg.append(f'<line class="axis" x1="{self.left}" y1="{bottom}" x2="{self.left + self.width}" y2="{bottom}"/>')
        for tick in x_ticks:
            x = self.x(tick)
            self.svg.append(f'<line class="axis" x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}"/>')
            self.svg.append(f'<text class="small faint" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>')
        self.svg.append(f'<text class="small faint" x="{self.left + self.width / 2:.1f}" y="{bottom + 38}" text-anchor="middle">{x_label}</text>')
        self.svg.append(f'<text class="title" x="{self.left - 36}" y="{self.top - 16}">{title}</text>')

    def line(self, xs, ys, style):
        points = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(xs, ys))
        self.svg.append(f'<polyline class="{style}" points="{points}"/>')

    def text(self, x, y, text, style, anchor="start", dx=0, dy=0):
        self.svg.append(f'<text class="{style}" x="{self.x(x) + dx:.1f}" y="{self.y(y) + dy:.1f}" text-anchor="{anchor}">{text}</text>')

    def point(self, x, y):
        self.svg.append(f'<circle class="point" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="5.5"/>')


def draw(gaussian, best):
    pairs = Panel(56, 52, 450, 290, (0.955, 1.0), (0.54, 0.70))
    pairs.axes([0.96, 0.97, 0.98, 0.99, 1.0], [0.54, 0.58, 0.62, 0.66, 0.70], "published cosine",
               "Published slope against cosine, and one alpha for all")
    for alpha in (0.55, 0.58, 0.6, best):
        _, slopes, cosines = rising(gaussian[alpha])
        grid = np.linspace(max(0.957, cosines[0] + 0.0005), 0.9993, 240)
        line = np.interp(grid, cosines, slopes)
        grid, line = grid[line <= 0.70], line[line <= 0.70]
        found = alpha == best
        pairs.line(grid, line, "found" if found else "other")
        pairs.text(grid[-1], line[-1], f"{alpha:.4g}", "small found-text" if found else "small faint", "start", 8, 4)
    for _, slope, cosine in PUBLISHED:
        pairs.point(cosine, slope)

    errors = Panel(620, 52, 205, 290, (0.55, 0.61), (-0.004, 0.044))
    errors.axes([0.55, 0.565, 0.58, 0.6], [0, 0.01, 0.02, 0.03, 0.04], "the one alpha", "RMS error of the seven slopes")
    errors.line(ALPHAS, [rmse(gaussian[a]) for a in ALPHAS], "found")
    errors.text(best, rmse(gaussian[best]), f"{best:.4g}: {rmse(gaussian[best]):.4f}", "small found-text", "start", -12, 16)
    errors.text(0.6, rmse(gaussian[0.6]), f".60: {rmse(gaussian[0.6]):.3f}", "small faint", "end", -8, -4)
    return "\n".join([
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 850 400" width="850" height="400" role="img" '
        'aria-label="Seven published pairs of slope and cosine lie on the curve of a single alpha">',
        f"<style>{STYLE}</style>", *pairs.svg, *errors.svg, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--svg", help="write the figure here")
    asked = parser.parse_args()
    by_shape = {shape: curves(shape) for shape in SHAPES}
    gaussian = by_shape["Gaussian"]
    best = min(gaussian, key=lambda alpha: rmse(gaussian[alpha]))
    print_tables(by_shape, best)
    if asked.svg:
        with open(asked.svg, "w") as file:
            file.write(draw(gaussian, best))


if __name__ == "__main__":
    main()
