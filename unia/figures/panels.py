"""Panels: a row for each image, from its CAMs to the prediction after the CRF."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unia.data.samples import voc_palette
from unia.figures.maps import Map, Maps
from unia.scoring.scores import Label

PALETTE = ListedColormap(np.frombuffer(voc_palette(), np.uint8).reshape(256, 3) / 255)
PIXELS = 500  # of a side that is drawn; larger images are thinned out


@dataclass(frozen=True)
class Row:
    """One image, H W 3, with its ground truth and label maps (by what they are called), H W."""

    name: str
    miou: float
    image: NDArray[np.uint8]
    truth: Label
    maps: Maps
    labels: Mapping[str, Label]


def panels(rows: Sequence[Row]) -> Figure:
    """The rows, each with its mIoU after the CRF; the cross marks the token whose affinity is shown.

    CAMs go from 0 to 1; uncertainty and affinity have each their own range, which stands below them.
    """
    count = 6 + len(rows[0].labels)
    figure = Figure(figsize=(1.25 * count, 1.33 * len(rows) + 0.6), layout="constrained")
    cells = figure.subplots(len(rows), count, squeeze=False)
    heads = ("image", "ground truth", "CAM", "auxiliary CAM", "uncertainty", "affinity", *rows[0].labels)
    for cell, head in zip(cells[0], heads, strict=True):
        cell.set_title(head, fontsize=7)
    for line, row in zip(cells, rows, strict=True):
        _draw(line, row)
    for cell in cells.flat:
        cell.set(xticks=[], yticks=[])
        for spine in cell.spines.values():
            spine.set_visible(False)
    return figure


def _draw(line: Sequence[Axes], row: Row) -> None:
    step = -(-max(row.image.shape[:2]) // PIXELS)
    image = row.image[::step, ::step]
    line[0].imshow(image)
    line[0].set_ylabel(f"{row.name}\nmIoU {100 * row.miou:.1f}", fontsize=6, parse_math=False)
    _label(line[1], row.truth[::step, ::step])
    _heat(line[2], row.maps.cam[::step, ::step], image)
    _heat(line[3], row.maps.cam_aux[::step, ::step], image)
    if row.maps.uncertainty is None:
        line[4].text(0.5, 0.5, "none", transform=line[4].transAxes, ha="center", fontsize=7)
    else:
        _grid(line[4], row.maps.uncertainty)
    _grid(line[5], row.maps.affinity)
    y, x = row.maps.token
    line[5].plot(x, y, "x", color="red", markersize=5)
    for cell, label in zip(line[6:], row.labels.values(), strict=True):
        _label(cell, label[::step, ::step])


def _label(cell: Axes, label: Label) -> None:
    cell.imshow(label, cmap=PALETTE, vmin=0, vmax=255, interpolation="nearest")


def _heat(cell: Axes, cam: Map, image: Label) -> None:
    cell.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    cell.imshow(cam, cmap="jet", vmin=0, vmax=1, alpha=0.55)


def _grid(cell: Axes, values: Map) -> None:
    """A map of tokens, each a square, from its own least to its own largest value."""
    cell.imshow(values, cmap="viridis", interpolation="nearest")
    least, most = float(values.min()), float(values.max())
    digits = max(2, 1 - floor(log10(most - least))) if most > least else 2
    cell.set_xlabel(f"{least:.{digits}f} to {most:.{digits}f}", fontsize=5, labelpad=1)
