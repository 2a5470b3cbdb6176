"""The CAM of several scales: combined and normalised (method: multi-scale CAM of AFA and ToCo)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from unia.resize import resize

EPSILON = 1e-5


def combine(scales: Iterable[tuple[Tensor, Tensor]], size: tuple[int, int]) -> Tensor:
    """Normalised CAM of all scales: B x C x H x W in [0, 1], `size` = (H, W).

    scales: for each, the CAMs of the image and of its mirror image, both B x C x h x w as the network
    gave them (h, w differ between scales). Of each pair the larger value counts, if positive; scales add.
    """
    pairs = (torch.maximum(resize(cam, size), resize(mirrored, size).flip(-1)) for cam, mirrored in scales)
    first, *others = (pair.relu_() for pair in pairs)
    for other in others:
        first += other
    return normalise(first)


@torch.no_grad()
def normalise(cam: Tensor) -> Tensor:
    """Each class of a B x C x H x W CAM minus its minimum, then over (its maximum + 1e-5): in [0, 1)."""
    cam = cam - cam.amin((-2, -1), keepdim=True)
    return cam / (cam.amax((-2, -1), keepdim=True) + EPSILON)
