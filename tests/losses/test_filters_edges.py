"""The filters where precision, devices and constant images could trouble them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from unia.losses.energy import bilateral_features
from unia.losses.exact import exact_filter
from unia.losses.lattice import lattice_filter

FILTERS = [lattice_filter, exact_filter]
Filter = Callable[[Tensor, Tensor], Tensor]


def points(count: int, channels: int, spread: float) -> tuple[Tensor, Tensor]:
    """Features 2 N 5 and values 2 N C in float32."""
    generator = torch.Generator().manual_seed(count)
    features = torch.randn(2, count, 5, generator=generator) * spread
    return features, torch.rand(2, count, channels, generator=generator)


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest, relative to the largest expected number."""
    return float((found.cpu().double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("run", FILTERS)
def test_float32_is_as_good_as_float64(run: Filter) -> None:
    features, values = points(600, 21, spread=3)
    found = run(features, values)
    wrong = difference(found, run(features.double(), values.double()))
    print(f"float32: {wrong:.1e} of the largest element")
    assert found.dtype == torch.float32
    assert wrong < 1e-5


@pytest.mark.parametrize("channels", [1, 21, 81])
@pytest.mark.parametrize("offset", [0, 20])
def test_exact_in_float32(channels: int, offset: float) -> None:
    """The whole matrix of kernel values in float64, wherever the features lie."""
    features, values = points(120, channels, spread=1)
    far, wide = (features + offset).double(), values.double()
    expected = (-(far[:, :, None] - far[:, None]).square().sum(-1) / 2).exp() @ wide
    assert difference(exact_filter(features + offset, values), expected) < 1e-5


def test_exact_leaves_lonely_points_alone() -> None:
    """So far apart that only the pixel itself counts."""
    features = 12 * torch.eye(5, dtype=torch.float64)[None]
    values = torch.arange(1.0, 6, dtype=torch.float64)[None, :, None]
    torch.testing.assert_close(exact_filter(features, values), values)


@pytest.mark.parametrize("run", FILTERS)
def test_equal_points_share_alike(run: Filter) -> None:
    """Each gets the same multiple of the sum of all values: 1 by `exact`, less by the lattice."""
    values = points(64, 4, spread=1)[1].double()
    found = run(torch.full((2, 64, 5), 0.37, dtype=torch.float64), values)
    share = found / values.sum(1, keepdim=True)
    torch.testing.assert_close(share, share[:1, :1, :1].expand_as(share))
    low, high = (0.2, 0.99) if run is lattice_filter else (1 - 1e-9, 1 + 1e-9)
    assert low < float(share[0, 0, 0]) < high


def test_constant_image() -> None:
    """Only places count: `exact` gives the integral of their Gaussian, the lattice its shape."""
    images = torch.full((1, 3, 40, 40), 128.0, dtype=torch.float64)
    features = bilateral_features(images, 15, 4)
    ones = torch.ones(1, 1600, 1, dtype=torch.float64)
    exact, lattice = exact_filter(features, ones).view(40, 40), lattice_filter(features, ones).view(40, 40)
    assert float(exact[20, 20]) == pytest.approx(2 * np.pi * 4**2, rel=1e-3)
    assert torch.corrcoef(torch.stack([exact.flatten(), lattice.flatten()]))[0, 1] > 0.9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares with a GPU")
@pytest.mark.parametrize("run", FILTERS)
def test_a_gpu_agrees_and_is_never_waited_for(run: Filter) -> None:
    features, values = points(2000, 21, spread=3)
    on_gpu = features.cuda(), values.cuda()
    run(*on_gpu)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = run(*on_gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    wrong = difference(found, run(features.double(), values.double()))
    print(f"on a GPU: {wrong:.1e} of the largest element")
    assert wrong < 1e-4
