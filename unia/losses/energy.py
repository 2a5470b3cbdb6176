"""Dense energy: pixels that look alike and lie near should be segmented alike.

Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation" (rloss), ECCV 2018;
method section 4.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unia.labels import IGNORE
from unia.losses.exact import exact_filter
from unia.losses.lattice import lattice_filter


def energy(
    images: Tensor,
    logits: Tensor,
    label: Tensor,
    sigma_rgb: float,
    sigma_xy: float,
    scale: float,
    filter: Literal["lattice", "exact"],
) -> Tensor:
    """images B 3 H W in 0..255, logits B C+1 H W, label B H W (255: unknown) -> scalar, usually negative.

    All at `scale` of their size. The gradient is the energy's own definition, -2 g filter(S) / B, and
    not the derivative of the value: the gate g counts as constant.
    """
    size = (int(images.shape[-2] * scale), int(images.shape[-1] * scale))
    images = F.interpolate(images, size, mode="nearest")
    unknown = F.interpolate(label[:, None].to(images.dtype), size, mode="nearest") == IGNORE
    probability = F.interpolate(logits.softmax(1), size, mode="bilinear", align_corners=False)
    features = bilateral_features(images, sigma_rgb, sigma_xy * scale)
    result: Tensor = _Energy.apply(probability, features, unknown, filter)
    return result


def bilateral_features(images: Tensor, sigma_rgb: float, sigma_xy: float) -> Tensor:
    """x, y (over sigma_xy), r, g, b (over sigma_rgb) of every pixel: images B 3 H W -> B HW 5."""
    batch, _, height, width = images.shape
    y = torch.arange(height, device=images.device, dtype=images.dtype).view(-1, 1).expand(height, width)
    x = torch.arange(width, device=images.device, dtype=images.dtype).expand(height, width)
    place = torch.stack([x, y]).expand(batch, -1, -1, -1) / sigma_xy
    return torch.cat([place, images / sigma_rgb], 1).flatten(2).transpose(1, 2)


class _Energy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, probability: Tensor, features: Tensor, unknown: Tensor, filter: str) -> Tensor:
        gate = (1 - probability.amax(1, keepdim=True)).clamp_(min=0).masked_fill_(unknown, 1)
        values = probability.flatten(2).transpose(1, 2)
        filtered = lattice_filter(features, values) if filter == "lattice" else exact_filter(features, values)
        gated = gate * filtered.transpose(1, 2).view_as(probability)
        ctx.save_for_backward(gated)
        return -(probability * gated).sum() / len(probability)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, None]:
        (gated,) = ctx.saved_tensors
        return -2 * grad * gated / len(gated), None, None, None
