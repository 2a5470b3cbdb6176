"""The dense energy and its two filters against the reference, and against their definition."""

from collections.abc import Callable, Mapping
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unia.losses import energy as module
from unia.losses.energy import bilateral_features
from unia.losses.exact import exact_filter
from unia.losses.lattice import lattice_filter

FILTERS = {"lattice": lattice_filter, "exact": exact_filter}
Golden = Mapping[str, object]
Numbers = Mapping[str, Tensor]


def tensors(arrays: Golden) -> Numbers:
    return {key: torch.as_tensor(value) for key, value in arrays.items()}


def filter_difference(g: Numbers, name: str, scale: float = 1.0) -> float:
    """Largest difference from the reference's filter, relative to its largest value."""
    images = g["images_0_1"].float()[..., ::2, ::2] * 255
    values = g["seg_logits"].float().softmax(1)[..., ::2, ::2]
    features = bilateral_features(images, float(g["filter_sigma_rgb"]), float(g["filter_sigma_xy"]))
    filtered = FILTERS[name](features * scale, values.flatten(2).transpose(1, 2))
    expected = g[f"filter_{name}"].float()
    return float((filtered.transpose(1, 2).view_as(expected) - expected).abs().max() / expected.max())


def energy_difference(g: Numbers) -> tuple[float, float]:
    """(of the value, of the gradient), relative to the value and to the gradient's largest element."""
    logits = g["seg_logits"].float().requires_grad_()
    images, label = g["images_0_1"].float() * 255, g["seg_label"].long()
    sigmas = float(g["sigma_rgb"]), float(g["sigma_xy"]), float(g["scale_factor"])
    value = module.energy(images, logits, label, *sigmas, "lattice")
    (gradient,) = torch.autograd.grad(value, logits)
    expected = g["grad_seg_logits"]
    by_value = abs(float(value.detach()) / float(g["loss"]) - 1)
    return by_value, float((gradient - expected).abs().max() / expected.abs().max())


@pytest.mark.golden
@pytest.mark.parametrize("name", FILTERS)
def test_filter(name: str, golden: Callable[[str], Golden]) -> None:
    numbers = tensors(golden("dense_energy.npz"))
    difference = filter_difference(numbers, name)
    print(f"{name} filter: {difference:.1e} of the largest value")
    assert difference < 3e-3


@pytest.mark.golden
@pytest.mark.parametrize("name", FILTERS)
def test_filter_catches_a_wrong_bandwidth(name: str, golden: Callable[[str], Golden]) -> None:
    assert filter_difference(tensors(golden("dense_energy.npz")), name, scale=1.02) > 3e-3


@pytest.mark.golden
def test_energy(golden_original: Callable[[str], Golden]) -> None:
    value, gradient = energy_difference(tensors(golden_original("dense_energy.npz")))
    print(f"energy: value {value:.1e}, gradient {gradient:.1e}")
    assert value < 3e-3
    assert gradient < 1e-3


@pytest.mark.golden
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("return -2 * grad", "return 2 * grad"),
        ("return -2 * grad", "return -grad"),
        ("return -(probability", "return (probability"),
        ("/ len(gated)", ""),
        (".masked_fill_(unknown, 1)", ""),
        ("1 - probability.amax", "1 - 0 * probability.amax"),
        ("sigma_xy * scale)", "sigma_xy)"),
    ],
)
def test_energy_catches(
    right: str,
    wrong: str,
    golden_original: Callable[[str], Golden],
    plant: Callable[[ModuleType, str, str], None],
) -> None:
    """The golden numbers tell each of these errors from the method."""
    numbers = tensors(golden_original("dense_energy.npz"))
    plant(module, right, wrong)
    value, gradient = energy_difference(numbers)
    print(f"energy with {wrong!r} for {right!r}: value {value:.1e}, gradient {gradient:.1e}")
    assert value > 3e-3 or gradient > 1e-3


def small() -> tuple[Tensor, Tensor, Tensor]:
    """Smooth images 2 3 12 10 in 0..255, logits and labels (some 255), in float64."""
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(2, 3, 3, 3, generator=generator, dtype=torch.float64) * 60 + 80
    images = F.interpolate(coarse, (12, 10), mode="bilinear")
    logits = torch.randn(2, 4, 12, 10, generator=generator, dtype=torch.float64)
    label = torch.randint(0, 4, (2, 12, 10), generator=generator)
    label[:, :4] = 255
    return images, logits, label


def by_definition(images: Tensor, probability: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """(energy, its gradient with respect to the probabilities at half size), pixel by pixel pair."""
    images, label = images[..., ::2, ::2], label[..., ::2, ::2]
    batch, classes, height, width = probability.shape
    total, gradient = torch.zeros((), dtype=torch.float64), torch.zeros_like(probability)
    for b in range(batch):
        pixels = [(y, x) for y in range(height) for x in range(width)]
        for y, x in pixels:
            unknown = bool(label[b, y, x] == 255)
            gate = 1.0 if unknown else max(0.0, 1 - float(probability[b, :, y, x].max()))
            filtered = torch.zeros(classes, dtype=torch.float64)
            for v, u in pixels:
                place = ((y - v) / 50) ** 2 + ((x - u) / 50) ** 2
                colour = float((images[b, :, y, x] - images[b, :, v, u]).square().sum()) / 15**2
                kernel = torch.tensor(-(place + colour) / 2, dtype=torch.float64).exp()
                filtered += kernel * probability[b, :, v, u]
            total -= (probability[b, :, y, x] * gate * filtered).sum() / batch
            gradient[b, :, y, x] = -2 * gate * filtered / batch
    return total, gradient


def test_equals_its_definition() -> None:
    """With the exact filter; the gradient passes the resizing and the softmax as usual."""
    images, logits, label = small()
    logits.requires_grad_()
    value = module.energy(images, logits, label, 15, 100, 0.5, "exact")
    (gradient,) = torch.autograd.grad(value, logits)

    half = F.avg_pool2d(logits.softmax(1), 2)  # halving bilinearly is averaging 2 x 2
    expected, half_gradient = by_definition(images, half.detach(), label)
    (expected_gradient,) = torch.autograd.grad(half, logits, half_gradient)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=0, check_dtype=False)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-12)


def test_its_gradient_scales_with_the_weight() -> None:
    images, logits, label = small()
    logits.requires_grad_()
    value = module.energy(images, logits, label, 15, 100, 0.5, "lattice")
    (one,) = torch.autograd.grad(value, logits, retain_graph=True)
    (seven,) = torch.autograd.grad(7 * value, logits)
    torch.testing.assert_close(seven, 7 * one)


def test_alike_pixels_pull_together() -> None:
    """On a flat image, segmenting its pixels alike has less energy than segmenting them at random."""
    images = torch.full((1, 3, 16, 16), 120.0)
    label = torch.full((1, 16, 16), 255)
    generator = torch.Generator().manual_seed(0)
    mixed = (
        torch.randint(0, 2, (1, 8, 8), generator=generator).repeat_interleave(2, 1).repeat_interleave(2, 2)
    )
    energies = [
        float(
            module.energy(images, 9.0 * F.one_hot(c, 2).permute(0, 3, 1, 2), label, 15, 100, 0.5, "lattice")
        )
        for c in (torch.zeros_like(mixed), mixed)
    ]
    assert energies[0] < 1.5 * energies[1] < 0
