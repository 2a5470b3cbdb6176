"""Propagation of CAMs over the token grid by the predicted affinity (method: evaluation of the affinity)."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from unia.resize import resize

EPSILON = 0.1


@lru_cache
def radius_mask(h: int, w: int, radius: int, device: torch.device) -> Tensor:
    """Which pairs of the h x w tokens lie within `radius` of each other (Chebyshev): bool, N x N, N = h*w."""
    with torch.inference_mode(False):  # the cached tensor outlives the mode of its first caller
        token = torch.arange(h * w, device=device)
        row, column = token // w, token % w
        rows_apart = (row[:, None] - row[None, :]).abs()
        columns_apart = (column[:, None] - column[None, :]).abs()
        return torch.maximum(rows_apart, columns_apart) <= radius


@torch.no_grad()
def propagated(cams: Tensor, labels: Tensor, affinity: Tensor, background: float, radius: int) -> Tensor:
    """Masks of background and classes after one step along the affinity: B x (C+1) x h x w.

    cams: B x C x h x w at token resolution, normalised; labels: B x C in {0, 1}; affinity: B x N x N,
    N = h*w, in (0, 1). The masks are the softmax over background (a constant `background`) and the present
    classes; as row vectors they are multiplied by the affinity within `radius`, squared and divided by
    (column sum + 0.1).
    """
    masks = present_softmax(with_background(cams * labels[..., None, None], background), labels)
    near = radius_mask(*cams.shape[-2:], radius, cams.device)
    squared = (affinity.to(cams.dtype) * near).square()
    return along(masks, squared / (squared.sum(1, keepdim=True) + EPSILON))


def affinity_label(
    cams: Tensor, labels: Tensor, affinity: Tensor, tokens: tuple[int, int], background: float, radius: int
) -> Tensor:
    """Label map of the propagated masks, 0 for background and c+1 for class c: B x H x W, int64.

    cams: B x C x H x W, normalised; tokens: (h, w) of the token grid; otherwise as `propagated`.
    """
    masks = propagated(resize(cams, tokens), labels, affinity, background, radius)
    return resize(masks, (cams.shape[-2], cams.shape[-1])).max(1).indices


def with_background(cams: Tensor, background: float) -> Tensor:
    """A constant channel in front of B x C x H x W CAMs: B x (C+1) x H x W."""
    return F.pad(cams, (0, 0, 0, 0, 1, 0), value=background)


def present_softmax(masks: Tensor, labels: Tensor) -> Tensor:
    """Softmax over background and the present classes; absent classes are 0.

    masks: B x (C+1) x H x W, background first; labels: B x C in {0, 1}.
    """
    absent = F.pad(labels == 0, (1, 0), value=False)
    return masks.masked_fill(absent[..., None, None], -torch.inf).softmax(1)


def along(masks: Tensor, affinity: Tensor) -> Tensor:
    """Each B x K x h x w mask, a row vector over its N = h*w tokens, times the B x N x N affinity."""
    with torch.autocast(masks.device.type, enabled=False):  # refinement keeps its precision
        return (masks.flatten(2) @ affinity.to(masks.dtype)).view_as(masks)
