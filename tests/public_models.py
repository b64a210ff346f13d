"""The tensors of public models: names and shapes as tests/data/hub/patterns.tsv has them."""

import os


def patterns(data, model):
    """(architecture, [(pattern, count, shape)]) of one public model."""
    rows, architecture = [], ""
    with open(os.path.join(data, "hub", "patterns.tsv")) as f:
        for line in f:
            fields = line.rstrip("\n").split("\t")
            if fields[0] == model:
                architecture = fields[1]
                rows.append((fields[2], int(fields[3]), [int(n) for n in fields[4].split("x")]))
    return architecture, rows


def tensors(rows):
    layers = max(count for pattern, count, _ in rows if "{layer}" in pattern and "{expert}" not in pattern)
    for pattern, count, shape in rows:
        experts = count // layers if "{expert}" in pattern else 1
        for i in range(count):
            yield pattern.replace("{layer}", str(i // experts)).replace("{expert}", str(i % experts)), shape
