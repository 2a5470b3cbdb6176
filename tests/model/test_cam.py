"""Combination and normalisation of the CAMs of several scales."""

import pytest
import torch
from torch import Tensor

from unia.model.cam import combine, normalise
from unia.resize import resize


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_normalise() -> None:
    cam = random(2, 3, 5, 4)
    normal = normalise(cam)
    for image in range(2):
        for channel in range(3):
            values = cam[image, channel] - cam[image, channel].min()
            torch.testing.assert_close(normal[image, channel], values / (values.max() + 1e-5))


def test_a_class_that_never_answers_is_zero() -> None:
    assert torch.equal(normalise(torch.full((1, 1, 3, 3), 4.0)), torch.zeros(1, 1, 3, 3))


def test_one_scale_is_the_larger_of_the_pair() -> None:
    cam = torch.tensor([[[[-1.0, 0.0, 2.0]]]])
    mirrored = torch.tensor([[[[1.0, 4.0, -2.0]]]])  # mirrored back: -2, 4, 1
    expected = torch.tensor([[[[0.0, 4.0, 2.0]]]]) / (4 + 1e-5)
    torch.testing.assert_close(combine([(cam, mirrored)], (1, 3)), expected)


def test_scales_add_after_relu() -> None:
    scales = [
        (random(2, 3, 4, 6, seed=1), random(2, 3, 4, 6, seed=2)),
        (random(2, 3, 2, 3), random(2, 3, 2, 3)),
    ]
    size = (7, 9)
    total = torch.zeros(2, 3, *size, dtype=torch.float64)
    for cam, mirrored in scales:
        total += torch.maximum(resize(cam, size), resize(mirrored.flip(-1), size)).clamp(min=0)
    torch.testing.assert_close(combine(scales, size), normalise(total))


@pytest.mark.parametrize("size", [(4, 6), (8, 3)])
def test_inputs_stay_as_they_are(size: tuple[int, int]) -> None:
    cam, mirrored = random(1, 2, 4, 6), random(1, 2, 4, 6, seed=1)
    before = cam.clone(), mirrored.clone()
    combine(iter([(cam, mirrored), (cam, mirrored)]), size)
    assert torch.equal(cam, before[0])
    assert torch.equal(mirrored, before[1])
