"""Does something tell wrong pixels from right ones? Signals, and the area under their ROC curve (AUROC).

AUROC is the probability that a wrong pixel has a higher value than a right one; equal values count half.
It is given within images (the mean over images that hold both), and over all pixels of a split, for which
each image's pixels are counted in bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from unia.scoring import bootstrap
from unia.scoring.scores import Counts, Floats

BINS = 256
DRAWS = 1000

Wrong = NDArray[np.bool_]


@dataclass(frozen=True)
class Auroc:
    """A number, and the bounds of its 95% interval: a bootstrap over images."""

    value: float
    low: float
    high: float


def within(values: Floats, wrong: Wrong) -> float:
    """AUROC of one image's pixels; NaN where none is wrong, or none right."""
    bad = int(wrong.sum())
    good = wrong.size - bad
    if not bad or not good:
        return float("nan")
    return float((rankdata(values)[wrong].sum() - bad * (bad + 1) / 2) / (bad * good))


def binned(values: Floats, wrong: Wrong, edges: Floats) -> Counts:
    """2 x BINS: of one image, the right and the wrong pixels whose value lies in each bin.

    `edges`: the BINS - 1 inner ones, ascending.
    """
    bins = np.searchsorted(edges, values, side="right")
    return np.stack([np.bincount(bins[part], minlength=BINS) for part in (~wrong, wrong)])


def quantile_edges(values: Floats) -> Floats:
    """Inner edges between bins that hold equally many of `values`."""
    edges: Floats = np.quantile(values, np.arange(1, BINS) / BINS)
    return edges


def mean_within(images: Sequence[float]) -> Auroc:
    """The mean AUROC of images; NaN is left out."""
    known = np.array(images)[~np.isnan(images)]
    if not known.size:
        return Auroc(*[float("nan")] * 3)
    rng = np.random.default_rng(bootstrap.SEED)
    drawn = [known[rng.integers(0, known.size, known.size)].mean() for _ in range(DRAWS)]
    return Auroc(float(known.mean()), *_bounds(drawn))


def pooled(images: Counts) -> Auroc:
    """AUROC over all pixels, from the bins of each image: images x 2 x BINS."""
    value = float(_area(images.sum(axis=0, keepdims=True))[0])
    if np.isnan(value):
        return Auroc(value, value, value)
    count = len(images)
    flat = images.reshape(count, -1).astype(np.float64)
    drawn: list[float] = []
    for some in bootstrap.weights(count, DRAWS):
        drawn.extend(_area((some @ flat).reshape(-1, 2, BINS)))
    return Auroc(value, *_bounds(drawn))


def _area(bins: NDArray[np.floating] | Counts) -> Floats:
    """AUROC of each of n x 2 x BINS; NaN where no pixel is wrong, or none right."""
    right, wrong = bins[:, 0].astype(np.float64), bins[:, 1].astype(np.float64)
    below = right.cumsum(axis=1) - right / 2
    pairs = right.sum(axis=1) * wrong.sum(axis=1)
    area: Floats = np.full(len(bins), np.nan)
    np.divide((wrong * below).sum(axis=1), pairs, out=area, where=pairs > 0)
    return area


def _bounds(drawn: Sequence[float]) -> tuple[float, float]:
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return float(low), float(high)
