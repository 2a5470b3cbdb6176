"""Contrastive affinity: among a token's affinities, those to its own class should stand out.

Paper, section III-C (affinity diversification); method section 4.
"""

import torch
from torch import Tensor

from unia.labels import IGNORE

TEMPERATURE = 0.5


def contrastive_affinity(affinity: Tensor, token_label: Tensor, near: Tensor) -> Tensor:
    """affinity B N N in (0, 1), token_label B h w (class, 0 or 255), near bool N N -> scalar.

    The mean over the batch's positive pairs of -log softmax of the affinities, over batch size and 2.
    """
    raised = (affinity / TEMPERATURE).exp()
    contrast = (raised.sum(2, keepdim=True) + 1e-4).log() - affinity / TEMPERATURE
    same = positive_pairs(token_label, near)
    return (contrast * same).sum() / (same.sum() + 1) / len(affinity) / 2


def positive_pairs(token_label: Tensor, near: Tensor) -> Tensor:
    """bool B N N: near pairs of one label other than 255, the diagonal included."""
    label = token_label.flatten(1)
    equal = label[:, :, None] == label[:, None, :]
    return equal & near & (label != IGNORE)[:, :, None]


def affinity_label(token_label: Tensor, near: Tensor) -> Tensor:
    """int64 B N N: 1 same class, 0 different, 255 left out (far, or a token that is 255)."""
    label = token_label.flatten(1)
    known = (label != IGNORE)[:, :, None] & (label != IGNORE)[:, None, :] & near
    equal = label[:, :, None] == label[:, None, :]
    return torch.where(known, equal.long(), IGNORE)
