"""The losses against the reference's values and gradients."""

from collections.abc import Callable, Mapping
from types import ModuleType

import pytest
import torch
from torch import Tensor

from unia.losses import affinity, distribution, ptc, segmentation
from unia.refine.affinity import radius_mask

pytestmark = pytest.mark.golden

Numbers = Mapping[str, Tensor]
Loss = Callable[[Tensor, Numbers], Tensor]


def near(g: Numbers) -> Tensor:
    return radius_mask(*g["token_label"].shape[1:], int(g["radius"]), torch.device("cpu"))


# the reference's name of each loss -> its input, and the loss as a function of it
LOSSES: dict[str, tuple[str, Loss]] = {
    "ptc": ("feature_map", lambda x, g: ptc.ptc(x, g["token_label"])),
    "contrastive_affinity": (
        "affinity",
        lambda x, g: affinity.contrastive_affinity(x, g["token_label"], near(g)),
    ),
    "distribution": ("sampled_embedding", lambda x, g: distribution.distribution(x, g["confident"])),
    "segmentation": ("seg_logits", lambda x, g: segmentation.segmentation(x, g["seg_label"].long())),
}


@pytest.fixture
def numbers(golden: Callable[[str], Mapping[str, object]]) -> Numbers:
    return {key: torch.as_tensor(value) for key, value in golden("losses.npz").items()}


def differences(name: str, g: Numbers) -> tuple[float, float]:
    """(of the value, of the gradient), relative to the value and to the gradient's largest element."""
    key, loss = LOSSES[name]
    x = g[key].float().requires_grad_()
    value = loss(x, g)
    (gradient,) = torch.autograd.grad(value, x)
    expected = g.get(f"grad_{key}")
    if expected is None:  # the copy holds every second pixel
        gradient, expected = gradient[..., ::2, ::2], g[f"grad_{key}_half"]
    by_value = abs(float(value.detach()) / float(g[name]) - 1)
    return by_value, float((gradient - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient(name: str, numbers: Numbers) -> None:
    value, gradient = differences(name, numbers)
    print(f"{name}: value {value:.1e}, gradient {gradient:.1e}")
    assert value < 1e-5
    assert gradient < 1e-4


def test_gradient_of_every_pixel(golden_original: Callable[[str], Mapping[str, object]]) -> None:
    whole = {key: torch.as_tensor(value) for key, value in golden_original("losses.npz").items()}
    value, gradient = differences("segmentation", whole)
    print(f"segmentation, every pixel: value {value:.1e}, gradient {gradient:.1e}")
    assert value < 1e-5
    assert gradient < 1e-4


def wrong_affinity_labels(g: Numbers) -> int:
    label = affinity.affinity_label(g["token_label"], near(g))
    pairs = affinity.positive_pairs(g["token_label"], near(g))
    assert torch.equal(pairs, label == 1)
    return int((label != g["affinity_label"]).sum())


def wrong_pair_labels(g: Numbers) -> int:
    same, different = ptc.pairs(g["token_label"])
    return int((torch.where(same, 1, torch.where(different, 0, 255)) != g["pair_label"]).sum())


def test_labels_of_pairs(numbers: Numbers) -> None:
    assert (numbers["affinity_label"] == 1).any()
    assert (numbers["pair_label"] == 0).any()
    assert wrong_affinity_labels(numbers) == 0
    assert wrong_pair_labels(numbers) == 0


ERRORS = [
    ("ptc", ptc, "same.sum() + 1", "same.sum()"),
    ("ptc", ptc, "different.sum() + 1", "different.sum()"),
    ("ptc", ptc, "known = label != IGNORE", "known = label >= 0"),
    ("ptc", ptc, "count &= ~torch", "count |= torch"),
    ("ptc", ptc, ".abs()", ""),
    ("contrastive_affinity", affinity, "same.sum() + 1", "same.sum()"),
    ("contrastive_affinity", affinity, " & (label != IGNORE)[:, :, None]", ""),
    ("contrastive_affinity", affinity, "equal & near", "equal & near & ~torch.eye(100, dtype=torch.bool)"),
    ("contrastive_affinity", affinity, "equal & near", "equal"),
    ("contrastive_affinity", affinity, "raised.sum(2,", "raised.sum(1,"),
    ("contrastive_affinity", affinity, "/ len(affinity)", ""),
    ("distribution", distribution, "confident.flatten(1).softmax(1)", "confident.flatten(1)"),
    ("distribution", distribution, "batchmean", "sum"),
    ("segmentation", segmentation, "0.5 * _mean(loss, background)", "0.4 * _mean(loss, background)"),
    ("segmentation", segmentation, " & (label != IGNORE)", ""),
    ("segmentation", segmentation, "label == 0", "label != 255"),
]


@pytest.mark.parametrize(("name", "module", "right", "wrong"), ERRORS)
def test_reference_catches(
    name: str,
    module: ModuleType,
    right: str,
    wrong: str,
    numbers: Numbers,
    plant: Callable[[ModuleType, str, str], None],
) -> None:
    """The golden numbers tell each of these errors from the method."""
    plant(module, right, wrong)
    value, gradient = differences(name, numbers)
    print(f"{name} with {wrong!r} for {right!r}: value {value:.1e}, gradient {gradient:.1e}")
    assert value > 1e-5 or gradient > 1e-4


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("count &= ~torch", "count |= torch"), ("known = label != IGNORE", "known = label >= 0")],
)
def test_pair_labels_catch(
    right: str, wrong: str, numbers: Numbers, plant: Callable[[ModuleType, str, str], None]
) -> None:
    plant(ptc, right, wrong)
    assert wrong_pair_labels(numbers) > 0
