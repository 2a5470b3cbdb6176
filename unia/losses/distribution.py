"""The sampled token distribution should lie where the foreground is certain.

Paper, section III-B; method sections 1 and 4.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def distribution(sampled: Tensor, confident: Tensor) -> Tensor:
    """KL divergence between softmax over the tokens of confident (target) and of sampled, both B h w."""
    target = confident.flatten(1).softmax(1)
    return F.kl_div(sampled.flatten(1).log_softmax(1), target, reduction="batchmean")


def sample_mean(
    mean: Tensor, log_variance: Tensor, samples: int, generator: torch.Generator | None = None
) -> Tensor:
    """The mean of `samples` reparameterised draws of N(mean, variance), averaged over D: B N D -> B N.

    The mean of K draws has exactly the distribution of one draw with sigma / sqrt(K), gradients included.
    """
    noise = torch.empty_like(mean).normal_(generator=generator)
    return (mean + (log_variance / 2).exp() * noise / samples**0.5).mean(2)
