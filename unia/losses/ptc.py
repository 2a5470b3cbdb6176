"""Patch-token contrast: tokens of one class alike, of different classes not.

Ru et al., "Token Contrast for Weakly-Supervised Semantic Segmentation" (ToCo), CVPR 2023; method section 4.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from unia.labels import IGNORE


def ptc(features: Tensor, token_label: Tensor) -> Tensor:
    """features B D h w, token_label B h w (class, 0 or 255) -> scalar.

    The |cosine| of two tokens of one image should be 1 where their labels are equal, 0 where they differ.
    """
    tokens = F.normalize(features.flatten(2), dim=1)
    cosine = (tokens.transpose(1, 2) @ tokens).abs()
    same, different = pairs(token_label)
    positive = 1 - (cosine * same).sum() / (same.sum() + 1)
    negative = (cosine * different).sum() / (different.sum() + 1)
    return 0.5 * positive + 0.5 * negative


def pairs(token_label: Tensor) -> tuple[Tensor, Tensor]:
    """(same, different), both bool B N N: the pairs of tokens that count, without 255 and the diagonal."""
    label = token_label.flatten(1)
    known = label != IGNORE
    count = known[:, :, None] & known[:, None, :]
    count &= ~torch.eye(label.shape[1], dtype=torch.bool, device=label.device)
    equal = label[:, :, None] == label[:, None, :]
    return count & equal, count & ~equal
