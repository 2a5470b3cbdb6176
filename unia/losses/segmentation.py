"""Segmentation: cross entropy, background and foreground in equal shares. Method section 4."""

import torch.nn.functional as F
from torch import Tensor

from unia.labels import IGNORE
from unia.resize import resize_by_matrix


def segmentation(logits: Tensor, label: Tensor) -> Tensor:
    """logits B C+1 h w, resized to label B H W (class, 0, or 255: left out) -> scalar."""
    size = (label.shape[-2], label.shape[-1])
    if logits.shape[-2:] != size:
        logits = resize_by_matrix(logits, size)
    loss = F.cross_entropy(logits, label, ignore_index=IGNORE, reduction="none")
    background = label == 0
    foreground = (label != 0) & (label != IGNORE)
    return 0.5 * _mean(loss, background) + 0.5 * _mean(loss, foreground)


def _mean(loss: Tensor, where: Tensor) -> Tensor:
    return (loss * where).sum() / (where.sum().to(loss.dtype) + 1e-6)
