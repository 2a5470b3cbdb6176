"""How well each signal tells wrong pixels from right ones: ROC curves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure


def wrong_pixels(document: Mapping[str, Any]) -> Figure:
    """From a scores.json that holds signals: of each its curve, its AUROC and the interval of that."""
    found = document["wrong_pixels"]
    figure = Figure(figsize=(4.2, 3.8), layout="constrained")
    axes = figure.subplots()
    for signal, counted in found["signals"].items():
        right, wrong = (
            np.concatenate([[0], np.cumsum(part[::-1]) / max(1, sum(part))]) for part in counted["bins"]
        )
        value, low, high = counted["pixels"]
        area = "" if value is None else f": {100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"
        axes.plot(100 * right, 100 * wrong, label=f"{signal}{area}")
    axes.plot([0, 100], [0, 100], ":", color="0.7")
    axes.set_xlabel(f"right pixels of {found['of']} above the value, in percent", fontsize=8)
    axes.set_ylabel("wrong pixels above it, in percent", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(title="AUROC, and its 95% interval over images", title_fontsize=7, fontsize=7, frameon=False)
    return figure
