"""The control of the uncertainty: the same attention, in which every token counts one half."""

import pytest
import torch
from torch import Tensor

from unia.model.uncertainty import Uncertainty


def reread(constant: bool, shift: float) -> tuple[Tensor, Tensor]:
    """The tokens after attention, and the log-variance, once `shift` was added to what this is made of."""
    torch.manual_seed(0)
    uncertainty = Uncertainty(16, 32, 2, 2, (24, 8), separate_mean=False, constant=constant)
    with torch.no_grad():
        assert uncertainty.log_variance.channel.bias is not None
        uncertainty.log_variance.channel.bias.add_(torch.linspace(0, shift, 32))
        tokens = torch.randn(2, 12, 16, generator=torch.Generator().manual_seed(1))
        found, _, log_variance = uncertainty(tokens, (3, 4), mean=False)
    if constant:
        expected, _ = uncertainty.attention(tokens, tokens / 2, tokens / 2)
        torch.testing.assert_close(found, tokens + expected)
    return found, log_variance


@pytest.mark.parametrize("constant", [False, True])
def test_the_inferred_uncertainty_counts_unless_it_is_constant(constant: bool) -> None:
    (one, s), (other, t) = reread(constant, 0), reread(constant, 5)
    assert not torch.allclose(s, t)
    assert torch.equal(one, other) == constant
