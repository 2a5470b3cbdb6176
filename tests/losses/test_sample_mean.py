"""The mean of K draws, drawn at once, against K draws."""

import pytest
import torch
from torch import Tensor

from unia.losses.distribution import sample_mean

SAMPLES, WIDTH, REPEATS = 50, 4, 4000


def explicit(mean: Tensor, log_variance: Tensor) -> Tensor:
    draws = mean + (log_variance / 2).exp() * torch.randn(SAMPLES, *mean.shape, dtype=mean.dtype)
    return draws.mean(0).mean(-1)


def statistics(draw: str) -> tuple[Tensor, Tensor]:
    """Mean and variance over many repetitions, for six tokens of different Gaussians."""
    mean = torch.linspace(-2, 3, 6, dtype=torch.float64)[:, None].expand(6, WIDTH)
    log_variance = torch.linspace(-3, 2, 6, dtype=torch.float64)[:, None].expand(6, WIDTH)
    mean, log_variance = (x.expand(REPEATS, -1, -1) for x in (mean, log_variance))
    torch.manual_seed(11)
    if draw == "explicit":
        values = torch.stack([explicit(mean[0], log_variance[0]) for _ in range(REPEATS)])
    else:
        values = sample_mean(mean, log_variance, SAMPLES)
    return values.mean(0), values.var(0)


@pytest.mark.parametrize("draw", ["explicit", "at once"])
def test_mean_and_variance(draw: str) -> None:
    """Of a normal sample of size n: mean +- 5 sigma / sqrt(n), variance to 5 sqrt(2 / (n-1))."""
    mean, variance = statistics(draw)
    expected = torch.linspace(-3, 2, 6, dtype=torch.float64).exp() / SAMPLES / WIDTH
    error = (mean - torch.linspace(-2, 3, 6, dtype=torch.float64)).abs()
    assert (error < 5 * (expected / REPEATS).sqrt()).all()
    assert ((variance / expected - 1).abs() < 5 * (2 / (REPEATS - 1)) ** 0.5).all()


def test_gradients_are_those_of_the_reparameterised_draws() -> None:
    """d/d mean is 1/D; d/d log-variance is the noise that was added, halved, over D."""
    mean = torch.tensor([[[0.5, -1.0]]], dtype=torch.float64, requires_grad=True)
    log_variance = torch.tensor([[[0.3, -0.7]]], dtype=torch.float64, requires_grad=True)
    torch.manual_seed(3)
    sample_mean(mean, log_variance, 1).sum().backward()
    torch.manual_seed(3)
    noise = torch.randn(1, 1, 2, dtype=torch.float64) * (log_variance.detach() / 2).exp()
    assert mean.grad is not None
    assert log_variance.grad is not None
    torch.testing.assert_close(mean.grad, torch.full_like(mean, 0.5))
    torch.testing.assert_close(log_variance.grad, noise / 4)
