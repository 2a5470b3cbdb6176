"""The dense energy's gradient against the reference's, one image of its two, every eighth row."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from numpy.typing import NDArray

from unia.losses import energy as module

pytestmark = pytest.mark.golden

Golden = Callable[[str], dict[str, NDArray[Any]]]


def difference(golden: Golden, sign: int = 1, label: int | None = None) -> float:
    """Relative to the gradient's largest element; `label` for all pixels instead of the reference's."""
    inputs, numbers = golden("dense_energy.npz"), golden("dense_energy_gradient.npz")
    logits = torch.from_numpy(inputs["seg_logits"]).float().requires_grad_()
    images = torch.from_numpy(inputs["images_0_1"]).float() * 255
    labels = torch.from_numpy(numbers["seg_label"])
    if label is not None:
        labels = torch.full_like(labels, label)
    sigmas = float(numbers["sigma_rgb"]), float(numbers["sigma_xy"]), float(numbers["scale_factor"])
    value = module.energy(images, logits, labels, *sigmas, "lattice")
    (gradient,) = torch.autograd.grad(value, logits)
    gradient = sign * gradient / 2  # the reference's batch held two images
    expected = torch.from_numpy(numbers["grad_seg_logits_rows"])
    rows = gradient[:, :, :: int(numbers["every"])]
    return float((rows - expected).abs().max() / expected.abs().max())


def test_reference(golden: Golden) -> None:
    found = difference(golden)
    print(f"dense energy: gradient {found:.1e} of its largest element")
    assert found < 1e-4


@pytest.mark.parametrize("planted", [{"sign": -1}, {"label": 0}, {"label": 255}])
def test_reference_catches(planted: dict[str, int], golden: Golden) -> None:
    """A flipped sign; the gate of known pixels everywhere, and that of unknown ones."""
    assert difference(golden, **planted) > 1e-2


def test_reference_catches_colours_before_places(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lattice approximates differently in another order of the features."""
    right = module.bilateral_features
    monkeypatch.setattr(module, "bilateral_features", lambda *given: right(*given).flip(-1))
    assert difference(golden) > 1e-3
