"""PAR against the reference's numbers and against its definition, pixel by pixel."""

from math import exp, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unia.refine import par as module
from unia.refine.par import par, par_weights, refine

DILATIONS = (1, 2, 4, 8, 12, 24)
GOLDEN = Path(__file__).parents[1] / "golden" / "par.npz"


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def golden_difference(dtype: torch.dtype = torch.float32) -> float:
    """Largest difference from the reference, relative to the standard deviation of its masks."""
    with np.load(GOLDEN) as golden:
        arrays = {key: torch.from_numpy(golden[key]).to(dtype) for key in golden}
    refined = par(arrays["images"], arrays["masks"], DILATIONS, 10)
    assert refined.dtype == dtype
    return float((refined - arrays["refined"]).abs().max() / arrays["refined"].std())


@pytest.mark.golden
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reference(dtype: torch.dtype) -> None:
    difference = golden_difference(dtype)
    print(f"par, {dtype}: {difference:.1e} of the standard deviation")
    assert difference < 5e-5


@pytest.mark.golden
@pytest.mark.parametrize("error", ["biased std", "no sqrt2", "no position", "not squared"])
def test_reference_catches(error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden numbers tell each of these errors from the method."""
    count = 8 * len(DILATIONS)
    if error == "biased std":
        monkeypatch.setattr(module, "BANDWIDTH", module.BANDWIDTH * sqrt((count - 1) / count))
    elif error == "no sqrt2":
        monkeypatch.setattr(module, "hypot", lambda y, x: max(abs(y), abs(x)))
        module.position_weights.cache_clear()
    elif error == "no position":
        monkeypatch.setattr(module, "POSITION_WEIGHT", 0.0)
    else:
        monkeypatch.setattr(Tensor, "square", Tensor.abs)
    difference = golden_difference()
    module.position_weights.cache_clear()
    print(f"par with an error, {error}: {difference:.1e} of the standard deviation")
    assert difference > 5e-5


def slow_par(image: Tensor, mask: Tensor, dilations: tuple[int, ...], iterations: int) -> Tensor:
    """One image, 3 x H x W, and its masks, K x H x W, by plain loops over the pixels."""
    _, height, width = image.shape
    steps = [(d * y, d * x) for d in dilations for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    lengths = np.array([sqrt(y * y + x * x) for y, x in steps])
    position = np.exp(-((lengths / lengths.std(ddof=1) / 0.3) ** 2))
    position /= position.sum()
    for _ in range(iterations):
        refined = torch.zeros_like(mask)
        for row in range(height):
            for column in range(width):
                near = [
                    (min(max(row + y, 0), height - 1), min(max(column + x, 0), width - 1)) for y, x in steps
                ]
                colours = np.array([[float(image[c, y, x]) for c in range(3)] for y, x in near])
                own = np.array([float(image[c, row, column]) for c in range(3)])
                distances = ((colours - own) / (colours.std(0, ddof=1) + 1e-8) / 0.3) ** 2
                kernel = np.array([exp(-value) for value in distances.mean(1)])
                weights = kernel / kernel.sum() + 0.01 * position
                for weight, (y, x) in zip(weights, near, strict=True):
                    refined[:, row, column] += weight * mask[:, y, x]
        mask = refined
    return mask


def test_equals_its_definition() -> None:
    image, mask = random(1, 3, 5, 7), random(1, 2, 5, 7, seed=1)
    expected = slow_par(image[0], mask[0], (1, 3, 9), 2)
    torch.testing.assert_close(par(image, mask, (1, 3, 9), 2)[0], expected, rtol=1e-9, atol=1e-12)


def test_masks_are_resized_to_the_image() -> None:
    image, mask = random(1, 3, 9, 13), random(1, 2, 4, 5)
    large = F.interpolate(mask, (9, 13), mode="bilinear", align_corners=True)
    torch.testing.assert_close(par(image, mask, (1, 2), 3), par(image, large, (1, 2), 3))


def test_weights_sum_to_one_and_a_hundredth() -> None:
    flat_and_not = torch.cat([random(1, 3, 11, 6), torch.full((1, 3, 11, 6), 0.3, dtype=torch.float64)])
    weights = par_weights(flat_and_not, DILATIONS)
    assert weights.shape == (2, 48, 11, 6)
    torch.testing.assert_close(weights.sum(1), torch.full((2, 11, 6), 1.01, dtype=torch.float64))


def test_constant_masks_only_grow() -> None:
    weights = par_weights(random(2, 3, 8, 8), (1, 2))
    refined = refine(weights, torch.ones(2, 3, 8, 8, dtype=torch.float64), (1, 2), 4)
    torch.testing.assert_close(refined, torch.full_like(refined, 1.01**4))


def test_a_batch_is_its_images() -> None:
    images, masks = random(3, 3, 17, 10), random(3, 4, 17, 10, seed=1)
    together = par(images, masks, (1, 5), 3)
    alone = torch.cat([par(images[i : i + 1], masks[i : i + 1], (1, 5), 3) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)


def test_its_inputs_stay_as_they_are() -> None:
    images, masks = random(1, 3, 6, 6), random(1, 2, 6, 6)
    before = images.clone(), masks.clone()
    par(images, masks, (1,), 2)
    assert torch.equal(images, before[0])
    assert torch.equal(masks, before[1])


def test_cached_weights_outlive_inference_mode() -> None:
    module.position_weights.cache_clear()
    with torch.inference_mode():
        par_weights(random(1, 3, 4, 4), (1,))
    assert not module.position_weights((1,), torch.device("cpu"), torch.float64).is_inference()
