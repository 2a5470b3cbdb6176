"""The table of an ablation: each variant's scores over its seeds, held against the first variant's.

The interval is a paired bootstrap over images: those drawn are the same for all runs, and mIoU follows from
their summed TP, FP and FN.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from unia.columns import check_columns
from unia.errors import UserError
from unia.files import write_text
from unia.prediction_kinds import KINDS, SEGMENTATIONS
from unia.progress import track
from unia.scoring import bootstrap
from unia.system import of_system

DRAWS = 2000
SCORES = ("mIoU", "std", "difference", "low 95%", "high 95%", "of full supervision")
COUNTS = ["tp", "fp", "fn"]

Counts = NDArray[np.int64]  # images x classes x (TP, FP, FN)
Floats = NDArray[np.float64]


def ablation(
    folders: Mapping[str, Sequence[Path]], changes: Mapping[str, str], out: Path, twin: str | None = None
) -> None:
    """Write the CSV `out`: a row for each variant and kind of prediction, mIoU in percent, 3 decimals.

    `folders`: variant -> for each seed the folder with images.csv; the first variant is the reference.
    `changes`: what each variant changes. Columns: mean and standard deviation (n - 1) over the seeds, mean
    difference to the reference with the same seed, the bootstrap's 95% interval of that difference, and, for
    the segmentation, the ratio of the means to those of `twin`, the variant that is fully supervised.
    Raises UserError where runs were not scored on the same images and classes.
    """
    tables = {
        variant: {folder: _read(folder / "images.csv") for folder in track(of_seeds, f"read {variant}")}
        for variant, of_seeds in folders.items()
    }
    first = next(iter(tables.values()))
    any_table = next(iter(first.values()))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("variant", "changes", "prediction", "seeds", *SCORES))
    for variant, found in tables.items():
        for kind in [kind for kind in KINDS if kind in set(any_table["kind"])]:
            index = _names(any_table, kind)
            counts, base, full = (
                [_counts(path, table, kind, *index) for path, table in some.items()]
                for some in (found, first, tables[twin] if twin and kind in SEGMENTATIONS else {})
            )
            result = compare(counts, base)
            difference = ["", "", ""] if found is first else map(_percent, result.difference())
            ratio = _percent(result.miou.mean() / _over_all_images(full).mean()) if full else ""
            scores = map(_percent, result.scores())
            writer.writerow((variant, changes[variant], kind, len(found), *scores, *difference, ratio))
    write_text(out, text.getvalue())


@dataclass(frozen=True)
class Comparison:
    """Fractions: mIoU of each seed, its difference to the reference's, and each draw's mean difference."""

    miou: Floats
    differences: Floats
    drawn: Floats

    def scores(self) -> tuple[float, float]:
        """Mean and standard deviation over the seeds; NaN for that of a single seed."""
        spread = float(self.miou.std(ddof=1)) if len(self.miou) > 1 else float("nan")
        return float(self.miou.mean()), spread

    def difference(self) -> tuple[float, float, float]:
        """Mean difference, and the 2.5th and 97.5th percentile of its draws."""
        low, high = np.percentile(self.drawn, (2.5, 97.5))
        return float(self.differences.mean()), float(low), float(high)


def compare(found: Sequence[Counts], reference: Sequence[Counts]) -> Comparison:
    """Compare runs with those of the same seeds: each images x classes x (TP, FP, FN)."""
    images = len(found[0])
    drawn = []
    for weights in bootstrap.weights(images, DRAWS):
        pairs = zip(found, reference, strict=True)
        drawn.append(np.mean([_miou(weights, one) - _miou(weights, other) for one, other in pairs], axis=0))
    miou, base = _over_all_images(found), _over_all_images(reference)
    return Comparison(miou, miou - base, np.concatenate(drawn))


def _over_all_images(runs: Sequence[Counts]) -> Floats:
    """mIoU of each run, over all images."""
    return np.array([_miou(np.ones((1, len(one)), dtype=np.int64), one)[0] for one in runs])


def _miou(weights: Counts, counts: Counts) -> Floats:
    """mIoU for each row of weights (draws x images), over the classes that the drawn ground truth holds."""
    summed = np.tensordot(weights.astype(np.float64), counts.astype(np.float64), axes=1)
    true, false, missed = np.moveaxis(summed, -1, 0)
    iou = np.where(true + missed > 0, true / np.maximum(true + false + missed, 1), np.nan)
    result: Floats = np.nanmean(iou, axis=1)
    return result


def _read(path: Path) -> pd.DataFrame:
    try:
        head = pd.read_csv(path, header=None, nrows=1, dtype="str", keep_default_na=False)
        check_columns(path, head.to_numpy()[0])
        table = pd.read_csv(path, dtype={"name": "str", "kind": "str", "class": "str"}, keep_default_na=False)
    except (OSError, ValueError) as error:
        if of_system(error):
            raise
        raise UserError(f"{path}: cannot be read ({error}); run the score step again") from None
    lacking = {"name", "kind", "class", *COUNTS} - set(table.columns)
    if lacking:
        raise UserError(f"{path}: lacks the columns {', '.join(sorted(lacking))}; run the score step again")
    return table


def _names(table: pd.DataFrame, kind: str) -> tuple[pd.Index, pd.Index]:
    """The images, and the classes that the ground truth of some image holds."""
    own = table[table["kind"] == kind]
    held = own[own["tp"] + own["fn"] > 0]
    return pd.Index(own["name"].unique()), pd.Index(sorted(held["class"].unique()))


def _counts(folder: Path, table: pd.DataFrame, kind: str, names: pd.Index, classes: pd.Index) -> Counts:
    """images x classes x (TP, FP, FN), 0 where the table has no row."""
    own = table[table["kind"] == kind]
    if set(own["name"]) != set(names):
        raise UserError(f"{folder}: was not scored on the same images; run its score step again")
    own = own[own["class"].isin(classes)]
    counts = np.zeros((len(names), len(classes), len(COUNTS)), dtype=np.int64)
    counts[names.get_indexer(pd.Index(own["name"])), classes.get_indexer(pd.Index(own["class"]))] = own[
        COUNTS
    ].to_numpy()
    return counts


def _percent(value: float) -> str:
    return "" if np.isnan(value) else f"{100 * value:.3f}"
