"""Scores of every kind of prediction of a split, kept as confusion matrices."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np

from unia.data.samples import Sample, Split, load_split, read_mask
from unia.errors import UserError
from unia.files import atomic, write_json
from unia.progress import say
from unia.scores import SIZES, Counts, confusion, hits, object_ious, union
from unia.steps.parallel import for_each

FROM_LABELS = ("cam", "cam_aux", "affinity", "mutual")  # exist where image-level labels do
KINDS = (*FROM_LABELS, "seg", "seg_ms", "seg_ms_crf")


Matrices = dict[str, Counts]
"""The confusion matrix, (C+1) x (C+1), of each kind of prediction."""


def score(data: Path, split: str, predictions: Path, crf: Path, out: Path, images: Path) -> None:
    """Compare the label maps in `predictions`/<kind> and `crf` with the masks; write `out` and `images`.

    `out` (JSON) holds, for each kind, the confusion matrix (rows: ground truth); [sum, number] of the mIoU of
    single images, and of the IoU of objects by size; and, where images belong to volumes, [TP, FP, FN, TN]
    of each class and union in each volume. `images` (CSV) holds the first three of each class that an image
    or its prediction holds. Memory does not grow with the number of images.
    Images without a mask are left out, which is told.

    Raises UserError, naming the file, where a prediction is missing or is not its mask's size, and where the
    split has no masks.
    """
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
    folders = {kind: predictions / kind for kind in KINDS[:-1]} | {KINDS[-1]: crf}
    folders = {kind: path for kind, path in folders.items() if path.is_dir() or kind not in FROM_LABELS}
    work = partial(_score_sample, folders, len(about.classes))
    by_volume: dict[str | None, Matrices] = {}
    single = {kind: {name: [0.0, 0] for name in ("image", *SIZES)} for kind in folders}
    with atomic(images) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("name", "kind", "class", "tp", "fp", "fn"))
        for sample, matrices in in_order(about.samples, for_each(work, about.samples, f"score, {split}")):
            known = by_volume.get(sample.volume)
            by_volume[sample.volume] = matrices if known is None else _add(known, matrices)
            table.writerows(_rows(sample.name, matrices, ("background", *about.classes)))
            for kind, matrix in matrices.items():
                _add_single(single[kind], matrix)
    write_json(out, _document(about, by_volume, single))


def in_order(
    samples: Sequence[Sample], found: Iterable[tuple[Sample, Matrices]]
) -> Iterator[tuple[Sample, Matrices]]:
    """`found`, which comes in any order, in the order of `samples`."""
    waiting: dict[Sample, Matrices] = {}
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


def _score_sample(folders: Mapping[str, Path], classes: int, sample: Sample) -> tuple[Sample, Matrices]:
    assert sample.mask is not None
    label = read_mask(sample.mask)
    matrices = {}
    for kind, folder in folders.items():
        path = folder / f"{sample.name}.png"
        if not path.is_file():
            raise UserError(f"{path}: the prediction is missing; run the step that makes it again")
        try:
            matrices[kind] = confusion(label, read_mask(path), classes)
        except ValueError as error:
            raise UserError(f"{path}: {error} ({sample.mask}); run the step that makes it again") from None
    return sample, matrices


def _add_single(sums: dict[str, list[float]], matrix: Counts) -> None:
    """Add an image's mIoU, and the IoU of its objects by size, to [sum, number] of each."""
    of_image, of_objects = object_ious(matrix)
    for name, value in [("image", of_image), *of_objects]:
        if not np.isnan(value):
            sums[name][0] += value
            sums[name][1] += 1


def _document(
    split: Split, by_volume: Mapping[str | None, Matrices], single: Mapping[str, Mapping[str, list[float]]]
) -> dict[str, Any]:
    total = reduce(_add, by_volume.values())
    volumes = sorted(volume for volume in by_volume if volume is not None)
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
        entry: dict[str, Any] = {"confusion": matrix.tolist(), "single": single[kind]}
        if volumes:
            entry["volumes"] = {volume: _hits(by_volume[volume][kind], split) for volume in volumes}
        document["kinds"][kind] = entry
    return document


def _add(one: Matrices, other: Matrices) -> Matrices:
    return {kind: one[kind] + other[kind] for kind in one}


def _hits(matrix: Counts, split: Split) -> dict[str, list[int]]:
    """name -> [TP, FP, FN, TN] of every foreground class and union."""
    members = {name: (k,) for k, name in enumerate(split.classes, 1)} | dict(split.unions)
    merged = {name: union(matrix, ids) for name, ids in members.items()}
    return {name: [int(m[t, p]) for t, p in ((1, 1), (0, 1), (1, 0), (0, 0))] for name, m in merged.items()}
