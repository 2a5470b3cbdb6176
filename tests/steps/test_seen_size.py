"""How large the network sees an image: as large as in training, where that was on tiles."""

import pytest
import torch

from unia.model.windows import base_size


@pytest.mark.parametrize("size", [(256, 216), (154, 224), (64, 64), (600, 30)])
@pytest.mark.parametrize(("crop", "tile", "patch"), [(64, 64, 8), (96, 64, 8), (224, 64, 16), (32, 80, 8)])
def test_a_tile_is_seen_at_the_crop_of_training(
    size: tuple[int, int], crop: int, tile: int, patch: int
) -> None:
    found = base_size(torch.zeros(3, *size), crop, tile, patch)
    for seen, side in zip(found, size, strict=True):
        assert seen >= 4 * patch
        assert abs(seen - side * crop / tile) <= 2 * patch or seen == 4 * patch
        assert [seen * scale % patch for scale in (0.25, 0.5, 0.75, 1.25, 1.5)] == [0] * 5


def test_whole_images_are_seen_as_squares() -> None:
    assert base_size(torch.zeros(3, 50, 70), 448, None, 16) == (448, 448)
