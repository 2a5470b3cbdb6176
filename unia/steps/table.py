"""The table of a split: one row for each kind of prediction, a pure function of scores.json.

Where slices of volumes were scored, so are trivial predictors that see no image: `all_background` and, for
each class, `all_<class>`, the same class at every pixel. Their scores follow from the ground truth's counts.

Last come the signals that may tell wrong pixels of seg_ms from right ones (`unia.steps.signals`): their AUROC
over all pixels, with the bounds of its 95% interval over images, and its mean within images.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from unia.errors import UserError
from unia.files import read_json, write_json, write_text
from unia.prediction_kinds import FINAL, FROM_TRUTH, KINDS
from unia.scoring.scores import Counts, mean, scores, union


def table(scored: Path, out: Path) -> None:
    """Write the CSV of the scores.json `scored`: percent, but for the confusion ratio; 3 decimals.

    Means are over the classes of the ground truth; a class that it lacks has an empty cell.
    """
    document = _read(scored)
    rows = [_row(document, kind) for kind in KINDS if kind in document["kinds"]]
    trivial = _trivial(document)
    rows += [_row(trivial, kind) for kind in trivial["kinds"]]
    rows += _signals(document)
    text = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out, text.getvalue())


def metrics(scored: Path, out: Path) -> None:
    """Write the mIoU of each kind of the scores.json `scored`, in percent, as JSON for `dvc metrics`."""
    document = _read(scored)
    write_json(
        out,
        {"mIoU": {kind: round(100 * scores(_matrix(document, kind)).miou, 3) for kind in document["kinds"]}},
    )


def show(path: Path, kinds: slice = slice(None)) -> Table:
    """The CSV at `path`, turned: names of rows, and a column for each of its `kinds` of prediction."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        shown = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for number, lines in enumerate(zip(head, *rows[kinds], strict=True)):
            if number == 0:
                for kind in lines:
                    shown.add_column(Text(kind), justify="right" if shown.columns else "left", no_wrap=True)
            else:
                shown.add_row(*map(Text, lines))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run the table step first") from None
    except (ValueError, csv.Error) as error:  # empty, no UTF-8, rows of several lengths
        raise UserError(f"{path}: is no table ({error}); run the table step again") from None
    return shown


def summary(path: Path) -> dict[str, float]:
    """`<kind>/mIoU` and the other means of a scores.json, as fractions: the metrics of its run."""
    document = _read(path)
    found = {}
    for kind in document["kinds"]:
        for name, value in _means(_matrix(document, kind)).items():
            found[f"{kind}/{name}"] = value
    return found


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = read_json(path)
    if not document.get("kinds"):
        raise UserError(f"{path}: holds no scores; run the score step again")
    return document


def _matrix(document: Mapping[str, Any], kind: str) -> Counts:
    return np.array(document["kinds"][kind]["confusion"], dtype=np.int64)


def _means(matrix: Counts) -> dict[str, float]:
    found = scores(matrix)
    return {
        "mIoU": found.miou,
        "pixel_accuracy": found.pixel_accuracy,
        "mean_accuracy": found.mean_accuracy,
        "precision": mean(found.precision),
        "recall": mean(found.recall),
        "confusion_ratio": mean(found.confusion_ratio),
    }


def _row(document: Mapping[str, Any], kind: str) -> dict[str, str]:
    matrix = _matrix(document, kind)
    classes, unions = document["classes"], document["unions"]
    volumes = document["kinds"][kind].get("volumes", {})
    found = scores(matrix)
    row = {"prediction": kind, "images": str(document["images"])}
    if document.get("protocol"):
        row["labels"] = document["protocol"]
    for name, value in _means(matrix).items():
        row[name] = _number(value) if name == "confusion_ratio" else _percent(value)
    for name, (total, number) in document["kinds"][kind].get("single", {}).items():
        column = "image mIoU" if name == "image" else f"IoU of {name} objects"
        row[column] = _percent(total / number if number else np.nan)
    for name, value in zip(["background", *classes], found.iou, strict=True):
        row[f"IoU {name}"] = _percent(value)
    merged = {name: scores(union(matrix, members)) for name, members in unions.items()}
    for name, both in merged.items():
        row[f"IoU {name}"] = _percent(both.iou[1])
    if unions or volumes:
        for name, value in zip(classes, found.dice[1:], strict=True):
            row[f"Dice {name}"] = _percent(value)
        for name, both in merged.items():
            row[f"Dice {name}"] = _percent(both.dice[1])
    if volumes:
        for name in [*classes, *unions]:
            row[f"volume Dice {name}"] = _percent(_volume_dice([v[name] for v in volumes.values()]))
        row |= _distances(document["kinds"][kind].get("surfaces", {}), volumes, [*classes, *unions])
    return row | _made_with(document, kind)


def _distances(
    surfaces: Mapping[str, Any], volumes: Mapping[str, Any], names: Sequence[str]
) -> dict[str, str]:
    """Mean HD95 and ASD over the volumes where prediction and truth hold a class, and how many miss it."""
    cells = {}
    for name in names if surfaces else ():
        known = [found[name] for found in surfaces.values() if found[name] is not None]
        held = sum(tp + fn > 0 for tp, _, fn, _ in (volume[name] for volume in volumes.values()))
        for place, column in enumerate(("HD95", "ASD")):
            mean_of = float(np.mean([pair[place] for pair in known])) if known else np.nan
            cells[f"volume {column} {name} (mm)"] = _number(mean_of)
        cells[f"volumes that miss {name}"] = str(held - len(known))
    return cells


def _made_with(document: Mapping[str, Any], kind: str) -> dict[str, str]:
    """How the label maps of `kind` came about; nothing where the predictions do not tell."""
    about = document.get("made_with", {}).get(kind)
    if about is None:
        return {}
    threshold = "" if about["threshold"] is None else f"{about['threshold']:g}"
    return {
        "split": document["split"],
        "scales": " ".join(f"{scale:g}" for scale in about["scales"]),
        "flips": _yes(about["flips"]),
        "threshold": threshold + (" (chosen on ground truth)" if kind == FROM_TRUTH else ""),
        "CRF": _yes(kind == FINAL),
        "image labels": about["image_labels"],
    }


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _signals(document: Mapping[str, Any]) -> list[dict[str, str]]:
    rows = []
    for signal, found in document.get("wrong_pixels", {}).get("signals", {}).items():
        value, low, high = found["pixels"]
        inside, inside_low, inside_high = found["within images"]
        rows.append(
            {"prediction": f"wrong pixels, by {signal}", "images": str(document["images"])}
            | {"AUROC": _percent(value), "AUROC low": _percent(low), "AUROC high": _percent(high)}
            | {"AUROC within images": _percent(inside)}
            | {"AUROC within images low": _percent(inside_low)}
            | {"AUROC within images high": _percent(inside_high)}
        )
    return rows


def _trivial(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as if each class in turn had been predicted everywhere; empty without volumes."""
    entry = next(iter(document["kinds"].values()))
    volumes, classes = entry.get("volumes", {}), document["classes"]
    truth = np.array(entry["confusion"]).sum(axis=1)
    kinds: dict[str, Any] = {}
    for k, name in enumerate(["background", *classes] if volumes else []):
        matrix = np.zeros((len(truth), len(truth)), dtype=np.int64)
        matrix[:, k] = truth
        hit = {name, *(union for union, members in document["unions"].items() if k in members)}
        counts = {
            volume: {what: _constant(held, what in hit) for what, held in named.items()}
            for volume, named in volumes.items()
        }
        kinds[f"all_{name}"] = {"confusion": matrix.tolist(), "volumes": counts}
    return {**document, "kinds": kinds}


def _constant(counts: Sequence[int], everywhere: bool) -> list[int]:
    """[TP, FP, FN, TN] of something predicted everywhere or nowhere, from those of any prediction."""
    tp, fp, fn, tn = counts
    return [tp + fn, fp + tn, 0, 0] if everywhere else [0, 0, tp + fn, fp + tn]


def _volume_dice(counts: Sequence[Sequence[int]]) -> float:
    """Mean Dice over the volumes, each [TP, FP, FN, TN], that hold the class."""
    held = [2 * tp / (2 * tp + fp + fn) for tp, fp, fn, _ in counts if tp + fn > 0]
    return sum(held) / len(held) if held else float("nan")


def _percent(value: float | None) -> str:
    return "" if value is None else _number(100 * value)


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"
