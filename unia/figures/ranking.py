"""Which images a figure shows: some of the whole split, and the worst ones."""

import csv
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from unia.columns import check_columns
from unia.errors import UserError
from unia.prediction_kinds import FINAL
from unia.system import of_system


def image_miou(images: Path, kind: str = FINAL) -> dict[str, float]:
    """Name -> mIoU of one kind of prediction, a fraction: the mean over the classes of the image's truth.

    `images`: the CSV of `unia score`. An image whose pixels are all ignored is left out.
    """
    found: dict[str, list[float]] = defaultdict(list)
    try:
        with images.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            check_columns(images, reader.fieldnames or ())
            for row in reader:
                tp, fp, fn = (int(row[column]) for column in ("tp", "fp", "fn"))
                if row["kind"] == kind and tp + fn > 0:
                    found[row["name"]].append(tp / (tp + fp + fn))
    except (OSError, KeyError, ValueError) as error:
        if of_system(error):
            raise
        raise UserError(f"{images}: cannot be read ({error}); run the score step again") from None
    return {name: sum(values) / len(values) for name, values in found.items()}


def chosen(miou: Mapping[str, float], count: int) -> list[str]:
    """`count` images at even distances through the split, its first and last among them."""
    names = list(miou)
    places = np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)
    return [names[place] for place in places]


def worst(miou: Mapping[str, float], count: int) -> list[str]:
    """The `count` images of lowest mIoU, the worst first."""
    return sorted(miou, key=lambda name: (miou[name], name))[:count]
