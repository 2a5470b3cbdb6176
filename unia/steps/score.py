"""Scores of every kind of prediction of a split, kept as confusion matrices."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np

from unia.data.samples import Sample, Split, load_split
from unia.errors import UserError
from unia.files import atomic, read_json, write_json
from unia.parallel import for_each
from unia.prediction_kinds import FINAL, FROM_TRUTH, INFERRED, SEGMENTATIONS
from unia.progress import say
from unia.scoring import sweep
from unia.scoring.scores import SIZES, Counts, hits, object_ious, union
from unia.steps.score_image import Matrices, Scored, label_at, label_of, score_best, score_sample
from unia.steps.signals import Signals
from unia.steps.surfaces import Distances, Read, surfaces


def score(data: Path, split: str, predictions: Path, crf: Path, out: Path, images: Path) -> None:
    """Compare the label maps in `predictions`/<kind> and `crf` with the masks; write `out` and `images`.

    `out` (JSON) holds, for each kind, the confusion matrix (rows: ground truth); [sum, number] of the mIoU of
    single images, and of the IoU of objects by size; what it was made with; and, where images belong to
    volumes, [TP, FP, FN, TN] and [HD95, ASD] (mm) of each class and union in each volume. It also holds the
    CAM's mIoU over its threshold, and how well signals tell wrong pixels. `images` (CSV) holds TP, FP and FN
    of each class that an image or its prediction holds. Images without a mask are left out, which is told.

    Raises UserError, naming the file, where a prediction is missing or is not its mask's size, and where the
    split has no masks.
    """
    about = _with_masks(data, split)
    folders = {kind: predictions / kind for kind in INFERRED} | {FINAL: crf}
    folders = {kind: path for kind, path in folders.items() if path.is_dir() or kind in SEGMENTATIONS}
    classes = len(about.classes)
    signals = Signals.of(predictions, about.samples, classes + 1)
    swept = predictions / "cam_level"
    work = partial(score_sample, folders, swept if swept.is_dir() else None, signals, classes)
    read: dict[str, Read] = {kind: partial(label_of, folder) for kind, folder in folders.items()}
    sums = Sums()
    with atomic(images) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("name", "kind", "class", "tp", "fp", "fn"))

        def see(work: Callable[[Sample], tuple[Sample, Scored]], description: str) -> None:
            for sample, found in in_order(about.samples, for_each(work, about.samples, description)):
                sums.add(sample, found)
                rows.writerows(_rows(sample.name, found.matrices, ("background", *about.classes)))

        see(work, f"score, {split}")
        if sums.swept is not None:
            threshold = sums.best_threshold
            see(partial(score_best, predictions, threshold, classes), f"score {FROM_TRUTH}")
            read[FROM_TRUTH] = partial(label_at, predictions, threshold)
    for volume, distances in surfaces(data, about, read):
        sums.distances[volume] = distances
    write_json(out, _document(about, sums) | _about_predictions(predictions, sums, signals))


def _with_masks(data: Path, split: str) -> Split:
    """The samples of the split that have a mask; what is left out is told."""
    whole = load_split(data, split)
    about = replace(whole, samples=tuple(sample for sample in whole.samples if sample.mask is not None))
    if not about.samples:
        raise UserError(
            f"{data}: the split {split} has no ground truth to score against; for VOC test, the label "
            "maps of infer and crf can be sent to the evaluation server"
        )
    left_out = len(whole.samples) - len(about.samples)
    if left_out:
        say(f"score {split}: {left_out} of {len(whole.samples)} images have no mask and are not scored")
    return about


class Sums:
    """What is known of the images seen so far."""

    def __init__(self) -> None:
        self.by_volume: dict[str | None, Matrices] = {}
        self.single: dict[str, dict[str, list[float]]] = {}  # kind -> "image" or size -> [sum, number]
        self.swept: Counts | None = None
        self.signals: dict[str, list[tuple[float, Counts]]] = {}
        self.distances: dict[str, Distances] = {}  # of each volume

    @property
    def total(self) -> Matrices:
        """The confusion matrix of each kind over all images."""
        return reduce(_add, self.by_volume.values())

    @property
    def truth(self) -> Counts:
        """C+1: the pixels of each class."""
        truth: Counts = next(iter(self.total.values())).sum(axis=1)
        return truth

    @property
    def best_threshold(self) -> float:
        """Of the CAM, chosen on the ground truth."""
        assert self.swept is not None
        return sweep.best(self.swept, self.truth)

    def add(self, sample: Sample, found: Scored) -> None:
        """Add an image, or further kinds of prediction of one."""
        self.by_volume[sample.volume] = _add(self.by_volume.get(sample.volume, {}), found.matrices)
        for kind, matrix in found.matrices.items():
            _add_single(self.single.setdefault(kind, {name: [0.0, 0] for name in ("image", *SIZES)}), matrix)
        if found.swept is not None:
            self.swept = found.swept if self.swept is None else self.swept + found.swept
        for signal, seen in found.signals.items():
            self.signals.setdefault(signal, []).append(seen)


def in_order(
    samples: Sequence[Sample], found: Iterable[tuple[Sample, Scored]]
) -> Iterator[tuple[Sample, Scored]]:
    """`found`, which comes in any order, in the order of `samples`."""
    waiting: dict[Sample, Scored] = {}
    order = iter(samples)
    following = next(order)
    for sample, matrices in found:
        waiting[sample] = matrices
        while following in waiting:
            yield following, waiting.pop(following)
            following = next(order, following)


def _rows(name: str, matrices: Matrices, classes: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for kind, matrix in matrices.items():
        counts = np.stack(hits(matrix), axis=1)
        for k in map(int, np.flatnonzero(counts.any(axis=1))):
            yield (name, kind, classes[k], *counts[k].tolist())


def _add_single(sums: dict[str, list[float]], matrix: Counts) -> None:
    """Add an image's mIoU, and the IoU of its objects by size, to [sum, number] of each."""
    of_image, of_objects = object_ious(matrix)
    for name, value in [("image", of_image), *of_objects]:
        if not np.isnan(value):
            sums[name][0] += value
            sums[name][1] += 1


def _document(split: Split, sums: Sums) -> dict[str, Any]:
    total = sums.total
    volumes = sorted(volume for volume in sums.by_volume if volume is not None)
    document: dict[str, Any] = {
        "dataset": split.dataset,
        "split": split.name,
        "protocol": split.protocol,
        "classes": list(split.classes),
        "unions": {name: list(members) for name, members in split.unions.items()},
        "images": len(split.samples),
        "kinds": {},
    }
    for kind, matrix in total.items():
        entry: dict[str, Any] = {"confusion": matrix.tolist(), "single": sums.single[kind]}
        if volumes:
            entry["volumes"] = {volume: _hits(sums.by_volume[volume][kind], split) for volume in volumes}
            entry["surfaces"] = {volume: sums.distances[volume][kind] for volume in volumes}
        document["kinds"][kind] = entry
    return document


def _about_predictions(predictions: Path, sums: Sums, signals: Signals | None) -> dict[str, Any]:
    """What else scores.json holds, so far as `unia infer` wrote what it needs."""
    found: dict[str, Any] = {}
    path = predictions / "made_with.json"
    made_with = read_json(path) if path.is_file() else {}
    if "seg_ms" in made_with:
        made_with[FINAL] = made_with["seg_ms"]
    if sums.swept is not None:
        thresholds, miou = sweep.curve(sums.swept, sums.truth)
        found["thresholds"] = {"thresholds": thresholds.tolist(), "mIoU": miou.tolist()}
        if "cam" in made_with:
            made_with[FROM_TRUTH] = made_with["cam"] | {"threshold": sums.best_threshold}
    if signals is not None:
        found["wrong_pixels"] = signals.document(sums.signals)
    return found | {"made_with": made_with}


def _add(one: Matrices, other: Matrices) -> Matrices:
    """The sum, of the kinds that either knows."""
    return one | {kind: one[kind] + matrix if kind in one else matrix for kind, matrix in other.items()}


def _hits(matrix: Counts, split: Split) -> dict[str, list[int]]:
    """name -> [TP, FP, FN, TN] of every foreground class and union."""
    merged = {name: union(matrix, ids) for name, ids in split.groups.items()}
    return {name: [int(m[t, p]) for t, p in ((1, 1), (0, 1), (1, 0), (0, 0))] for name, m in merged.items()}
