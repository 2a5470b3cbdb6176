"""The CAM's mIoU over its background threshold."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from unia.prediction_kinds import FROM_TRUTH


def thresholds(document: Mapping[str, Any]) -> Figure:
    """From a scores.json that holds the curve: where its best lies, and where the recipe's threshold."""
    found, made_with = document["thresholds"], document["made_with"]
    figure = Figure(figsize=(4.2, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(found["thresholds"], [100 * value for value in found["mIoU"]], ".-", color="0.3")
    for kind, label, style in (("cam", "the recipe's", "-"), (FROM_TRUTH, "chosen on ground truth", ":")):
        if kind in made_with:
            threshold = made_with[kind]["threshold"]
            axes.axvline(threshold, linestyle=style, color="C0", label=f"{label}: {threshold:g}")
    axes.set_xlabel("background threshold of the CAM", fontsize=8)
    axes.set_ylabel("mIoU in percent", fontsize=8)
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7, frameon=False)
    return figure
