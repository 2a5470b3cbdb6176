"""The confusion matrix, as a picture."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from unia.files import read_json
from unia.scoring.scores import scores


def confusion_figure(document: Path) -> Figure:
    """The confusion matrix of the kind of prediction with the best mIoU, each row in percent."""
    found = read_json(document)
    matrices = {kind: np.array(entry["confusion"], dtype=np.int64) for kind, entry in found["kinds"].items()}
    kind = max(matrices, key=lambda kind: scores(matrices[kind]).miou)
    matrix = matrices[kind]
    truth = matrix.sum(axis=1, keepdims=True)
    percent = 100 * matrix / np.maximum(truth, 1)
    names = ["background", *found["classes"]]
    side = 2 + 0.22 * len(names)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(percent, vmin=0, vmax=100, cmap="Blues")
    figure.colorbar(drawn, ax=axes, label="% of the true class", shrink=0.8)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=7, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true", title=f"{kind}, {found['dataset']} {found['split']}")
    return figure
