"""IoU of each class: bars for the final prediction, dots for what it grew from."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from unia.files import read_json
from unia.prediction_kinds import FINAL
from unia.scoring.scores import scores

DOTS = {"cam": "o", "mutual": "D", "seg_ms": "|"}


def class_bars(document: Path) -> Figure:
    """From a scores.json, in percent; a class that the ground truth lacks has neither bar nor dot."""
    found = read_json(document)
    names = ["background", *found["classes"]]
    iou = {
        kind: 100 * scores(np.array(entry["confusion"], dtype=np.int64)).iou
        for kind, entry in found["kinds"].items()
    }
    figure = Figure(figsize=(6, 1.6 + 0.24 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))
    axes.barh(places, np.nan_to_num(iou[FINAL]), color="0.8", label=FINAL)
    for kind, marker in DOTS.items():
        if kind in iou:
            axes.plot(iou[kind], places, marker, markersize=5, label=kind)
    axes.set_yticks(places, names, fontsize=7, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("IoU in percent", fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    figure.legend(loc="outside right upper", fontsize=7, frameon=False)
    return figure
