"""Pictures for a run: predictions beside their images."""

from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from unia.data.samples import load_split, read_image, read_mask, voc_palette

SHOWN = ("cam", "affinity", "mutual", "seg", "seg_ms")
ROWS = 6


def panel(data: Path, split: str, predictions: Path) -> Figure:
    """The first images of a split: image, ground truth, and each kind of prediction."""
    samples = load_split(data, split).samples[:ROWS]
    kinds = [kind for kind in SHOWN if (predictions / kind).is_dir()]
    colours = ListedColormap(np.frombuffer(voc_palette(), np.uint8).reshape(256, 3) / 255)
    figure = Figure(figsize=(1.6 * (2 + len(kinds)), 1.7 * len(samples)), layout="constrained")
    cells = figure.subplots(len(samples), 2 + len(kinds), squeeze=False)
    for row, sample in zip(cells, samples, strict=True):
        row[0].imshow(read_image(sample.image))
        if sample.mask is not None:
            row[1].imshow(read_mask(sample.mask), cmap=colours, vmin=0, vmax=255, interpolation="nearest")
        for cell, kind in zip(row[2:], kinds, strict=True):
            label = read_mask(predictions / kind / f"{sample.name}.png")
            cell.imshow(label, cmap=colours, vmin=0, vmax=255, interpolation="nearest")
    for cell, title in zip(cells[0], ("image", "ground truth", *kinds), strict=True):
        cell.set_title(title, fontsize=8)
    for cell in cells.flat:
        cell.set_axis_off()
    return figure
