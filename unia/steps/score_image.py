"""What is counted of one image: pixels by kind of prediction, by level of its CAM, and by signal."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unia.data.samples import Sample, read_mask
from unia.errors import UserError
from unia.prediction_kinds import FROM_TRUTH
from unia.scoring import sweep
from unia.scoring.scores import Counts, Label, confusion
from unia.steps.signals import OF, Signals

Matrices = dict[str, Counts]
"""The confusion matrix, (C+1) x (C+1), of each kind of prediction."""


@dataclass(frozen=True)
class Scored:
    """What is found of one image."""

    matrices: Matrices
    swept: Counts | None  # see unia.scoring.sweep; None where it has no image-level labels
    signals: Mapping[str, tuple[float, Counts]]


def label_of(folder: Path, sample: Sample) -> Label:
    """The sample's label map in `folder`; UserError where it is missing."""
    path = folder / f"{sample.name}.png"
    if not path.is_file():
        raise UserError(f"{path}: the prediction is missing; run the step that makes it again")
    return read_mask(path)


def label_at(predictions: Path, threshold: float, sample: Sample) -> Label:
    """The sample's CAM at a threshold that was swept."""
    return sweep.at(threshold, *_strongest(predictions, sample))


def score_sample(
    folders: Mapping[str, Path],
    swept: Path | None,
    signals: Signals | None,
    classes: int,
    sample: Sample,
) -> tuple[Sample, Scored]:
    assert sample.mask is not None
    label = read_mask(sample.mask)
    labels = {kind: label_of(folder, sample) for kind, folder in folders.items()}
    matrices = {
        kind: _confusion(label, labels[kind], classes, folder, sample) for kind, folder in folders.items()
    }
    levels = None
    if swept is not None:
        levels = sweep.counts(label, *_strongest(swept.parent, sample), classes)
    seen = {} if signals is None else signals.see(sample.name, label, labels[OF])
    return sample, Scored(matrices, levels, seen)


def score_best(predictions: Path, threshold: float, classes: int, sample: Sample) -> tuple[Sample, Scored]:
    assert sample.mask is not None
    predicted = label_at(predictions, threshold, sample)
    found = _confusion(read_mask(sample.mask), predicted, classes, predictions / "cam_class", sample)
    return sample, Scored({FROM_TRUTH: found}, None, {})


def _strongest(predictions: Path, sample: Sample) -> tuple[Label, Label]:
    """The strongest class at each pixel, and the level of its strength."""
    name, level = (label_of(predictions / of, sample) for of in ("cam_class", "cam_level"))
    return name, level


def _confusion(label: Label, predicted: Label, classes: int, folder: Path, sample: Sample) -> Counts:
    try:
        return confusion(label, predicted, classes)
    except ValueError as error:
        path = folder / f"{sample.name}.png"
        raise UserError(f"{path}: {error} ({sample.mask}); run the step that makes it again") from None
