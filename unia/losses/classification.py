"""Image-level classification. Method section 4."""

import torch.nn.functional as F
from torch import Tensor


def classification(logits: Tensor, labels: Tensor) -> Tensor:
    """Multi-label soft margin of logits B C against labels B C in {0, 1}."""
    return F.multilabel_soft_margin_loss(logits, labels)
