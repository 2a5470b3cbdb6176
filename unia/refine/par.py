"""PAR, pixel-adaptive refinement: masks that follow the edges of the image.

Ru et al., "Learning Affinity from Attention" (AFA), CVPR 2022, section 3.4. A pixel's 8 neighbours at
each of a few dilations carry weights made from colours and distances; refining replaces the masks a few
times by the weighted sum of these neighbours. The neighbours are views of the padded mask, never copies.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import hypot

import torch
import torch.nn.functional as F
from torch import Tensor

BANDWIDTH = 0.3
"""Width of both kernels, in standard deviations over the neighbours."""
POSITION_WEIGHT = 0.01
"""Share of the position kernel, beside 1 of the colour kernel: the weights sum to 1.01."""
EPSILON = 1e-8


def par(images: Tensor, masks: Tensor, dilations: Sequence[int], iterations: int) -> Tensor:
    """Masks refined by the images they belong to.

    images: B x 3 x H x W in [0, 1]; masks: B x K x h x w, first resized to H x W (align_corners=True).
    Returns B x K x H x W.
    """
    with torch.no_grad():
        masks = F.interpolate(masks, size=images.shape[-2:], mode="bilinear", align_corners=True)
    return refine(par_weights(images, dilations), masks, dilations, iterations)


@torch.no_grad()
def par_weights(images: Tensor, dilations: Sequence[int]) -> Tensor:
    """Weight of each of a pixel's neighbours, summing to 1.01: B x 8*len(dilations) x H x W.

    images: B x 3 x H x W in [0, 1]. The softmax over the neighbours j of a pixel i of
    -mean_RGB (|I_j - I_i| / (std_j I_j + 1e-8) / 0.3)^2, plus 0.01 x that of their distances.
    """
    colours = shifts(pad(images, max(dilations)), dilations)
    mean = torch.zeros_like(images)
    for colour in colours:
        mean.add_(colour)
    mean.div_(len(colours))
    squares = torch.zeros_like(images)
    for colour in colours:
        deviation = colour - mean
        squares.addcmul_(deviation, deviation)
    std = squares.div_(len(colours) - 1).sqrt_()
    scale = ((std + EPSILON) * BANDWIDTH).reciprocal()
    distances = torch.stack([((colour - images) * scale).square().mean(1) for colour in colours], dim=1)
    position = position_weights(tuple(dilations), images.device, images.dtype)
    return distances.neg_().softmax(1).add_(position, alpha=POSITION_WEIGHT)


@torch.no_grad()
def refine(weights: Tensor, masks: Tensor, dilations: Sequence[int], iterations: int) -> Tensor:
    """Masks replaced `iterations` times by the weighted sum of their neighbours: B x K x H x W.

    weights: B x 8*len(dilations) x H x W of `par_weights`; masks: B x K x H x W.
    """
    reach = max(dilations)
    padded = pad(masks, reach)
    shifted = shifts(padded, dilations)  # one set of views for all iterations: on a GPU their making is slow
    parts = weights.unsqueeze(2).unbind(1)
    for _ in range(iterations):
        masks = torch.zeros_like(masks)
        for neighbour, weight in zip(shifted, parts, strict=True):
            masks.addcmul_(neighbour, weight)
        padded.copy_(pad(masks, reach))
    return masks


def offsets(dilations: Sequence[int]) -> list[tuple[int, int]]:
    """(rows, columns) from a pixel to its 8 neighbours at every dilation."""
    ring = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
    return [(dilation * y, dilation * x) for dilation in dilations for y, x in ring]


def pad(maps: Tensor, reach: int) -> Tensor:
    """B x K x H x W maps with edge pixels replicated `reach` times on each side."""
    return F.pad(maps, (reach, reach, reach, reach), mode="replicate")


def shifts(padded: Tensor, dilations: Sequence[int]) -> list[Tensor]:
    """The maps that `pad` padded by max(dilations), shifted to each neighbour: B x K x H x W views."""
    reach = max(dilations)
    height, width = padded.shape[-2] - 2 * reach, padded.shape[-1] - 2 * reach
    return [
        padded[..., reach + y : reach + y + height, reach + x : reach + x + width]
        for y, x in offsets(dilations)
    ]


@lru_cache
def position_weights(dilations: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Softmax over the neighbours of -(distance / (std of the distances + 1e-8) / 0.3)^2: n x 1 x 1."""
    with torch.inference_mode(False):  # the cached tensor outlives the mode of its first caller
        distance = torch.tensor([hypot(y, x) for y, x in offsets(dilations)], dtype=torch.float64)
        logits = -(distance / (distance.std() + EPSILON) / BANDWIDTH).square()
        return logits.softmax(0).view(-1, 1, 1).to(device, dtype)
