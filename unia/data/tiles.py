"""Images cut into overlapping square tiles, each tagged by the classes in it.

The labels that an annotator gives who clicks through an image's tiles: they say where a class is, which
those of a whole image do not where nearly every image holds every class.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from unia.labels import IGNORE
from unia.recipe import Tile


def tiles(height: int, width: int, tile: Tile) -> Iterator[tuple[int, int]]:
    """(top, left) of every tile of an image, `stride` apart; the last of a row or column ends with the image.

    A tile is min(side, height) x min(side, width).
    """
    for top in _starts(height, tile):
        for left in _starts(width, tile):
            yield top, left


def tags(label: NDArray[np.uint8], presence: int) -> tuple[int, ...]:
    """The classes with at least `presence` pixels in a tile's `label`, H x W class ids."""
    counts = np.bincount(label.ravel(), minlength=IGNORE + 1)
    return tuple(int(k) for k in np.flatnonzero(counts >= presence) if k not in (0, IGNORE))


def _starts(length: int, tile: Tile) -> list[int]:
    last = max(0, length - tile.side)
    return [*range(0, last, tile.stride), last]
