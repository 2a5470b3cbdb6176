"""Segmentation of whole images, over scales and mirror images. Method section 6."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unia.resize import resize

if TYPE_CHECKING:  # to import the network takes seconds
    from unia.model.windows import Network


def resized(images: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Images 3 H W of any size, each resized to `size`, (height, width): B 3 height width."""
    return torch.cat([resize(image[None], size) for image in images])


@torch.no_grad()
def scale_maps(
    model: "Network", images: Sequence[Tensor], base: tuple[int, int], scales: Sequence[float]
) -> list[Tensor]:
    """For each scale s the logits B C+1 h w of normalised images 3 H W, float32 (float64 stays).

    The images are resized to `base`, (height, width), times s; the logits of image and mirror image add up.
    """
    maps = []
    for scale in scales:
        scaled = resized(images, (int(base[0] * scale), int(base[1] * scale)))
        logits = model.segment(torch.cat([scaled, scaled.flip(-1)]))
        straight, mirrored = (logits if logits.dtype == torch.float64 else logits.float()).chunk(2)
        maps.append(straight + mirrored.flip(-1))
    return maps


def logits_at(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Logits C+1 H W at `size`: each scale's map, C+1 h w, resized; the largest value over the scales.

    Image and mirror image were added before: enlarging is linear, so that is the same as adding after.
    """
    best = resize(maps[0][None], size)
    for smaller in maps[1:]:
        best = torch.maximum(best, resize(smaller[None], size))
    return best[0]


def multi_scale_logits(
    model: "Network", images: Sequence[Tensor], base: tuple[int, int], scales: Sequence[float]
) -> list[Tensor]:
    """Logits C+1 H W of normalised images 3 H W, each at its own size."""
    maps = scale_maps(model, images, base, scales)
    return [
        logits_at([scale[index] for scale in maps], (image.shape[-2], image.shape[-1]))
        for index, image in enumerate(images)
    ]
