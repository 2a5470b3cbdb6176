"""Segmentation logits of an image from its maps at several scales. Method section 6."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unia.resize import resize


def logits_at(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Logits C+1 H W at `size`: each scale's map, C+1 h w, resized; the largest value over the scales.

    Image and mirror image were added before: enlarging is linear, so that is the same as adding after.
    """
    best = resize(maps[0][None], size)
    for smaller in maps[1:]:
        best = torch.maximum(best, resize(smaller[None], size))
    return best[0]
