"""Scores of CAMs over their background threshold, from pixels counted by class and level of strength.

The counts of an image, or of many, are 2 x (C+1) x (LEVELS + 1): `named` and `hit`. Of class c >= 1,
`named[c, l]` counts the pixels whose strongest class it is, at level l, and `hit[c, l]` those among them
whose truth it is. `named[0]` counts all pixels, `hit[0]` those of the background.
"""

import numpy as np
from numpy.typing import NDArray

from unia.labels import IGNORE
from unia.scoring.scores import Counts, Floats, Label

LEVELS = 20
"""Steps of a CAM's strength: thresholds are swept in steps of 0.05, as C-CAM does (CVPR 2022)."""


def counts(label: Label, strongest: Label, level: NDArray[np.uint8], c: int) -> Counts:
    """The counts of an image with `c` classes, all H x W; what is 255 in `label` is left out.

    `strongest` and `level`: see `unia.refine.pseudo_label.cam_levels`.
    """
    known = label != IGNORE
    truth, name, strength = (array[known].astype(np.int64) for array in (label, strongest, level))
    found = np.zeros((2, c + 1, LEVELS + 1), dtype=np.int64)
    for where, right in ((0, slice(None)), (1, truth == name)):
        np.add.at(found[where], (name[right], strength[right]), 1)
    found[0, 0] = np.bincount(strength, minlength=LEVELS + 1)
    found[1, 0] = np.bincount(strength[truth == 0], minlength=LEVELS + 1)
    return found


def curve(found: Counts, truth: Counts) -> tuple[Floats, Floats]:
    """(thresholds, mIoU of each, a fraction) from summed counts; `truth`: C+1, the pixels of each class."""
    named, hit = found.cumsum(axis=2)
    for above in (named, hit):  # of a class: beyond the threshold; of the background: up to it
        above[1:] = above[1:, -1:] - above[1:]
    held = truth > 0
    iou = hit[held] / np.maximum(truth[held, None] + named[held] - hit[held], 1)
    inner = slice(1, LEVELS)
    thresholds: Floats = np.arange(LEVELS + 1)[inner] / LEVELS
    mean: Floats = iou.mean(axis=0)[inner]
    return thresholds, mean


def best(found: Counts, truth: Counts) -> float:
    """The threshold of best mIoU, the lowest of several."""
    thresholds, miou = curve(found, truth)
    return float(thresholds[miou.argmax()])


def at(threshold: float, strongest: Label, level: NDArray[np.uint8]) -> Label:
    """The CAM's label map at a swept threshold."""
    return np.where(level > round(threshold * LEVELS), strongest, 0).astype(np.uint8)
