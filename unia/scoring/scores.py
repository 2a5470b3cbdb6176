"""Scores of label maps, all from one confusion matrix over the whole split (as VOC counts them).

Rows are the ground truth, columns the prediction; class 0 is the background.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unia.labels import IGNORE

Label = NDArray[np.uint8]
"""A label map H W: class ids, 255 for pixels that do not count."""

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def confusion(label: Label, prediction: Label, classes: int) -> Counts:
    """Count the pixels of each (true, predicted) pair; those whose truth is 255 are left out.

    `label` and `prediction` have one shape, `classes` is the number of foreground classes C; the
    result is (C+1) x (C+1). ValueError for another shape, or for a class id above C.
    """
    if label.shape != prediction.shape:
        raise ValueError(f"the prediction is {_size(prediction)}, its mask {_size(label)}")
    counted = label != IGNORE
    truth, predicted = label[counted].astype(np.int64), prediction[counted]
    for what, ids in (("mask", truth), ("prediction", predicted)):
        if ids.size and ids.max() > classes:
            raise ValueError(f"the {what} holds class {ids.max()}, the last class is {classes}")
    n = classes + 1
    return np.bincount(truth * n + predicted, minlength=n * n).reshape(n, n).astype(np.int64)


def union(matrix: Counts, members: Iterable[int]) -> Counts:
    """The 2 x 2 matrix (rest, union) where `members` count as one class and all others as the rest."""
    side = np.zeros(len(matrix), dtype=np.int64)
    side[list(members)] = 1
    merged = np.zeros((2, 2), dtype=np.int64)
    np.add.at(merged, (side[:, None], side[None, :]), matrix)
    return merged


def hits(matrix: Counts) -> tuple[Counts, Counts, Counts]:
    """True positives, false positives and false negatives of each class."""
    true = np.diagonal(matrix)
    return true, matrix.sum(axis=0) - true, matrix.sum(axis=1) - true


@dataclass(frozen=True)
class Scores:
    """Fractions for each class, NaN for one that the ground truth lacks; `mean` leaves those out."""

    iou: Floats  # TP / (TP + FP + FN)
    dice: Floats  # 2 TP / (2 TP + FP + FN)
    precision: Floats  # TP / (TP + FP); 0 for a class that is never predicted
    recall: Floats  # TP / (TP + FN)
    confusion_ratio: Floats  # FP / TP, that is 1 / precision - 1; inf where nothing is hit
    pixel_accuracy: float  # correct pixels / all pixels
    mean_accuracy: float  # mean recall

    @property
    def miou(self) -> float:
        """The mean IoU of the classes that the ground truth holds; NaN where it holds none."""
        return mean(self.iou)


def scores(matrix: Counts) -> Scores:
    """Every score of a confusion matrix, (C+1) x (C+1) counts."""
    true, false, missed = hits(matrix)
    present = true + missed > 0
    recall = _ratio(true, true + missed, present)
    return Scores(
        iou=_ratio(true, true + false + missed, present),
        dice=_ratio(2 * true, 2 * true + false + missed, present),
        precision=_ratio(true, true + false, present),
        recall=recall,
        confusion_ratio=_ratio(np.where(true > 0, false, 1), true, present, without=np.inf),
        pixel_accuracy=float(true.sum() / matrix.sum()) if matrix.sum() else np.nan,
        mean_accuracy=mean(recall),
    )


SIZES = {"small": 0.0, "medium": 0.01, "large": 0.1}
"""How an object is called from which share of its image's pixels on; object: all of one class in an image."""


def object_ious(matrix: Counts) -> tuple[float, list[tuple[str, float]]]:
    """Of one image: its mIoU over the classes of its ground truth, and (size, IoU) of each object.

    The background counts in the mean, and is no object. NaN where no pixel is counted.
    """
    found = scores(matrix)
    share = matrix.sum(axis=1) / max(1, matrix.sum())
    objects = [k for k in range(1, len(matrix)) if share[k] > 0]
    sized = [
        ([size for size, least in SIZES.items() if share[k] >= least][-1], found.iou[k]) for k in objects
    ]
    return found.miou, [(size, float(value)) for size, value in sized]


def mean(values: Floats) -> float:
    """Mean over the classes of the ground truth; NaN where there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _ratio(part: Counts, whole: Counts, present: NDArray[np.bool_], without: float = 0.0) -> Floats:
    """part / whole; `without` where whole is 0, NaN where the class is absent."""
    result = np.full(len(part), without)
    np.divide(part, whole, out=result, where=whole > 0)
    result[~present] = np.nan
    return result


def _size(array: NDArray[np.uint8]) -> str:
    return " x ".join(map(str, array.shape))
