"""Learning curves: each loss of a training, and its learning rate, over the iterations."""

import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from unia.errors import UserError
from unia.system import of_system

COLUMNS = 5


def learning_curves(losses: Path) -> Figure:
    """One small diagram for each column of losses.csv; a loss that is not on yet has no line there."""
    try:
        table = np.atleast_1d(np.genfromtxt(losses, delimiter=",", names=True, dtype=float))
    except (OSError, ValueError) as error:
        if of_system(error):
            raise
        raise UserError(f"{losses}: cannot be read ({error}); run the train step again") from None
    names = list(table.dtype.names or ())[1:]
    if not names or not len(table):
        raise UserError(f"{losses}: holds no losses; run the train step again")
    rows = math.ceil(len(names) / COLUMNS)
    figure = Figure(figsize=(2 * COLUMNS, 1.6 * rows + 0.7), layout="constrained")
    cells = figure.subplots(rows, COLUMNS, squeeze=False)
    for cell, name in zip(cells.flat, names, strict=False):
        cell.set_xlim(0, table["iteration"].max())
        cell.plot(table["iteration"], table[name], linewidth=1)
        cell.set_title(name, fontsize=8)
        cell.tick_params(labelsize=6)
        cell.yaxis.get_offset_text().set_fontsize(6)
        if not np.isfinite(table[name]).any():
            cell.text(0.5, 0.5, "off", transform=cell.transAxes, ha="center", color="0.5")
    for cell in list(cells.flat)[len(names) :]:
        cell.set_axis_off()
    return figure
