"""IoU of objects by how much of their image they cover."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from unia.prediction_kinds import KINDS
from unia.scoring.scores import SIZES


def sizes(document: Mapping[str, Any]) -> Figure:
    """From a scores.json: for each kind of prediction a bar for each size, and how many objects that are."""
    kinds = [kind for kind in KINDS if "single" in document["kinds"].get(kind, {})]
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    axes = figure.subplots()
    places, width = np.arange(len(kinds)), 0.8 / len(SIZES)
    for number, size in enumerate(SIZES):
        sums, counts = zip(*(document["kinds"][kind]["single"][size] for kind in kinds), strict=True)
        means = [100 * total / count if count else 0 for total, count in zip(sums, counts, strict=True)]
        share = f", from {SIZES[size]:.0%} of the image on" if SIZES[size] else ""
        label = f"{size}{share}: {counts[0]} objects"
        axes.bar(places + (number - 1) * width, means, width, label=label, color=f"C{number}")
    axes.set_xticks(places, kinds, fontsize=7, rotation=20)
    axes.set_ylabel("mean IoU in percent", fontsize=8)
    axes.set_ylim(0, 100)
    axes.tick_params(axis="y", labelsize=7)
    axes.legend(fontsize=7, frameon=False)
    return figure
