"""A network that learned on tiles, on whole images: against the network on each window by hand."""

from pathlib import Path

import pytest
import torch
from smallest import NETWORK
from torch import Tensor

from unia.config import load
from unia.model.network import Output, UniA, build
from unia.model.windows import Windows, as_trained

PARAMS = Path(__file__).parents[2] / "params.yaml"
PATCH, WINDOW = 8, 32


@pytest.fixture
def model() -> UniA:
    torch.manual_seed(0)
    return build(load(PARAMS, NETWORK).recipe("shapes").model, 3).eval().double()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 48, 56, dtype=torch.float64)


def by_hand(model: UniA, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Segmentation logits, affinity, log-variance and class logits, token by token, in plain loops.

    48 x 56 pixels are 6 x 7 tokens; windows of 4 x 4 tokens start at rows 0 and 2, at columns 0, 2 and 3.
    """
    tokens = [(y, x) for y in range(6) for x in range(7)]
    logits: dict[tuple[int, int], list[Tensor]] = {token: [] for token in tokens}
    variance: dict[tuple[int, int], list[Tensor]] = {token: [] for token in tokens}
    near: dict[tuple[int, int], list[Tensor]] = {}
    named = []
    for top in (0, 2):
        for left in (0, 2, 3):
            part: Output = model(images[..., top * 8 : top * 8 + 32, left * 8 : left * 8 + 32])
            named.append(part.cls_logits)
            assert part.log_variance is not None
            for i in range(16):
                here = (top + i // 4, left + i % 4)
                logits[here].append(part.seg_logits[..., i // 4, i % 4])
                variance[here].append(part.log_variance[:, i])
                for j in range(16):
                    there = (top + j // 4, left + j % 4)
                    pair = (tokens.index(here), tokens.index(there))
                    near.setdefault(pair, []).append(part.affinity[:, i, j])
    affinity = torch.zeros(2, 42, 42, dtype=torch.float64)
    for (i, j), found in near.items():
        affinity[:, i, j] = torch.stack(found).mean(0)
    mean = [
        torch.stack([torch.stack(of[token]).mean(0) for token in tokens], -1) for of in (logits, variance)
    ]
    return mean[0].unflatten(-1, (6, 7)), affinity, mean[1].mT, torch.stack(named).amax(0)


@torch.no_grad()
def test_overlapping_windows_are_averaged(model: UniA, images: Tensor) -> None:
    network = Windows(model, WINDOW, (48, 56))
    logits, affinity, variance, named = by_hand(model, images)
    output = network(images)
    assert output.log_variance is not None
    torch.testing.assert_close(output.seg_logits, logits)
    torch.testing.assert_close(network.segment(images), logits)
    torch.testing.assert_close(output.affinity, affinity)
    torch.testing.assert_close(output.log_variance, variance)
    torch.testing.assert_close(output.cls_logits, named)
    torch.testing.assert_close(network.feature_maps(images), (output.features, output.features_aux))


@torch.no_grad()
def test_a_scaled_image_has_scaled_windows(model: UniA, images: Tensor) -> None:
    whole = Windows(model, WINDOW, (48, 56)).segment(
        images[..., :24, :24]
    )  # half size: windows of 2 x 2 tokens
    again = Windows(model, 16, (24, 24)).segment(images[..., :24, :24])
    torch.testing.assert_close(whole, again)
    torch.testing.assert_close(whole[..., :1, :1], model.segment(images[..., :16, :16])[..., :1, :1])


@torch.no_grad()
def test_an_image_no_larger_than_a_window_is_one_pass(model: UniA, images: Tensor) -> None:
    small = images[..., :32, :32]
    network = as_trained(model, (32, 32), WINDOW, tile=64)
    assert isinstance(network, Windows)
    torch.testing.assert_close(network(small)[:6], model(small)[:6])


def test_without_tiles_the_image_is_one_pass(model: UniA) -> None:
    assert as_trained(model, (48, 56), WINDOW, tile=None) is model


@torch.no_grad()
def test_the_log_variance_alone_is_that_of_the_whole_pass(model: UniA, images: Tensor) -> None:
    network = Windows(model, WINDOW, (48, 56))
    torch.testing.assert_close(network.log_variance(images), network(images).log_variance)
