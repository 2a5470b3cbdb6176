"""Tiles: where they lie, and what they are tagged with."""

import numpy as np
import pytest
from pydantic import ValidationError

from unia.data.tiles import tags, tiles
from unia.recipe import Tile


@pytest.mark.parametrize(
    ("height", "width", "side", "stride"),
    [(20, 17, 8, 4), (8, 8, 8, 3), (5, 30, 8, 8), (9, 16, 8, 8), (256, 216, 64, 32)],
)
def test_tiles_cover_the_image_and_nothing_else(height: int, width: int, side: int, stride: int) -> None:
    found = list(tiles(height, width, Tile(side=side, stride=stride, presence=1)))
    assert len(set(found)) == len(found)
    covered = np.zeros((height, width), int)
    for top, left in found:
        assert top + min(side, height) <= height
        assert left + min(side, width) <= width
        covered[top : top + side, left : left + side] += 1
    assert covered.min() >= 1
    tops, lefts = sorted({top for top, _ in found}), sorted({left for _, left in found})
    assert len(found) == len(tops) * len(lefts)
    for starts in (tops, lefts):
        steps = np.diff(starts)
        assert (steps[:-1] == stride).all()
        assert (steps <= stride).all()


def test_tags_are_the_classes_with_enough_pixels() -> None:
    label = np.zeros((4, 5), np.uint8)
    label[0, :3], label[1, :4], label[2] = 1, 2, 255
    assert tags(label, 1) == (1, 2)
    assert tags(label, 4) == (2,)
    assert tags(label, 5) == ()


def test_tiles_with_gaps_or_never_tagged_are_refused() -> None:
    with pytest.raises(ValidationError, match="stride: 9 must not be above side: 8"):
        Tile(side=8, stride=9, presence=1)
    with pytest.raises(ValidationError, match="presence: 65 is more than the 64 pixels"):
        Tile(side=8, stride=8, presence=65)
