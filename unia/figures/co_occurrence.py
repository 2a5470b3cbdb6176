"""Classes that occur together, against false activation: does a class light up on its companions?"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import spearmanr

from unia.data.card import read_card
from unia.files import read_json
from unia.prediction_kinds import FINAL

MARKERS = {"cam": "o", FINAL: "x"}
NAMED = 5  # the highest points, whose pairs are named

Floats = NDArray[np.float64]


def co_occurrence(scores: Path, data: Path) -> Figure:
    """One point for each ordered pair of classes (i, j): `together` against `false_activation`.

    Labels are those of the split train, which the network learned from; predictions those of `scores`.
    """
    document = read_json(scores)
    names = document["classes"]
    x = together(np.array(read_card(data, "train")["co_occurrence"], dtype=np.float64))
    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axes = figure.subplots()
    named: list[tuple[float, float, str]] = []
    for kind, marker in MARKERS.items():
        if kind not in document["kinds"]:
            continue
        y = false_activation(np.array(document["kinds"][kind]["confusion"], dtype=np.float64))
        pairs = [(i, j) for i, j in np.ndindex(x.shape) if i != j and np.isfinite(x[i, j] + y[i, j])]
        points = np.array([(x[pair], y[pair]) for pair in pairs]).reshape(-1, 2)
        axes.plot(*(100 * points.T), marker, markersize=4, alpha=0.7, label=f"{kind}{_correlation(points)}")
        named += [(float(y[i, j]), float(x[i, j]), f"{names[i]} on {names[j]}") for i, j in pairs]
    for height, right, name in sorted(named, reverse=True)[:NAMED]:
        place = (100 * right, 100 * height)
        axes.annotate(name, place, (4, 3), textcoords="offset points", fontsize=6, parse_math=False)
    axes.set_xlabel("images of the class that also hold the other class, % (labels of train)", fontsize=8)
    axes.set_ylabel("pixels given to the class that are the other's, %", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7)
    return figure


def together(counts: Floats) -> Floats:
    """Of the images labelled i, the fraction labelled j too: C x C, NaN where no image has i.

    `counts`: C x C images labelled with both, as the data card holds them.
    """
    images = np.diagonal(counts)[:, None]
    return np.divide(counts, images, out=np.full(counts.shape, np.nan), where=images > 0)


def false_activation(confusion: Floats) -> Floats:
    """Of the pixels predicted as i, the fraction whose truth is j: C x C, NaN where i is never predicted.

    `confusion`: (C+1) x (C+1), rows the truth, background first.
    """
    predicted = confusion.sum(axis=0)[1:, None]
    given = confusion.T[1:, 1:]
    return np.divide(given, predicted, out=np.full(given.shape, np.nan), where=predicted > 0)


def _correlation(points: Floats) -> str:
    if len(points) < 3 or (np.ptp(points, axis=0) == 0).any():
        return ""
    return f" (rank correlation {spearmanr(points[:, 0], points[:, 1]).statistic:.2f})"
