"""A mask from an image's COCO annotations: polygons and run lengths, painted in their order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

from unia.labels import IGNORE
from unia.recipe import CocoData


@dataclass(frozen=True)
class Object:
    """An annotation: class, segmentation as COCO writes it, and whether that is a crowd's."""

    number: int
    segmentation: Any
    crowd: bool = False


def paint(
    config: CocoData, height: int, width: int, objects: Sequence[Object]
) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    """(the mask, height x width class ids; the classes of its objects). Later objects cover earlier ones.

    A crowd is painted as its class, skipped as if it weren't annotated, or ignored: its pixels are 255 and
    it gives no label. Objects of fewer than `min_area` pixels are skipped as well. Raises ValueError for a
    segmentation that cannot be read.
    """
    mask = np.zeros((height, width), np.uint8)
    labels = set()
    for thing in objects:
        region = _region(height, width, thing.segmentation)
        rule = config.crowd if thing.crowd else "paint"
        if rule == "skip" or np.count_nonzero(region) < config.min_area:
            continue
        mask[region] = thing.number if rule == "paint" else IGNORE
        if rule == "paint":
            labels.add(thing.number)
    return mask, tuple(sorted(labels))


def _region(height: int, width: int, segmentation: Any) -> NDArray[np.bool_]:
    """Where an object is, height x width. pycocotools believes what it is given, so that is checked."""
    try:
        if isinstance(segmentation, list):
            encoded = _polygons(height, width, segmentation)
        else:
            encoded = _run_lengths(height, width, segmentation["size"], segmentation["counts"])
        decoded: NDArray[np.uint8] = rle.decode(encoded)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"no segmentation: {error!r}") from None
    return decoded.astype(bool)


def _polygons(height: int, width: int, polygons: Sequence[Sequence[float]]) -> Any:
    """The union of polygons [x, y, x, y, ...] in pixels; those of fewer than three points have no area."""
    points = [np.array(polygon, float).reshape(-1, 2) for polygon in polygons]
    if any(not np.abs(p).max(initial=0) <= 10 * (height + width) for p in points):  # `not`: NaN as well
        raise ValueError("a polygon far outside the image")
    flat = [p.ravel().tolist() for p in points if len(p) >= 3]
    return rle.merge(rle.frPyObjects(flat or [[0.0] * 6], height, width))


def _run_lengths(height: int, width: int, size: Sequence[int], counts: Any) -> Any:
    """Run lengths, column by column and background first: as a list, or compressed to a string."""
    if list(size) != [height, width]:
        raise ValueError(f"run lengths of size {size}, not {[height, width]}")
    lengths = counts if isinstance(counts, list) else _decompressed(counts)
    if sum(lengths) != height * width:
        raise ValueError(f"run lengths of {sum(lengths)} pixels, not {height * width}")
    return rle.frPyObjects({"size": [height, width], "counts": lengths}, height, width)


def _decompressed(text: str) -> list[int]:
    """The run lengths in a string: 5 bits a character from "0" on, low ones first, 32 where more follow.

    From the fourth on they are differences from the last but one (rleFrString in COCO's maskApi.c).
    pycocotools reads beyond the end of strings that are none, so they are read here.
    """
    lengths: list[int] = []
    value = shift = 0
    for byte in text.encode("ascii"):
        code = byte - 48
        if not 0 <= code < 64:
            raise ValueError("run lengths in a string that is none of COCO's")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (code & 16) << (shift - 4)
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("run lengths in a string that ends too early")
    return lengths
