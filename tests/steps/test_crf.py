"""The CRF step against a direct call of pydensecrf on all classes."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydensecrf.densecrf import DenseCRF2D
from scipy.ndimage import map_coordinates
from small_split import Small, make_small

from unia.data.samples import Sample, load_split, read_image, read_mask
from unia.errors import UserError
from unia.recipe import Crf
from unia.steps.crf import crf, likely
from unia.steps.parallel import for_each

CONFIG = Crf(
    iterations=10,
    gaussian_sxy=1,
    gaussian_compat=1,
    bilateral_sxy=121,
    bilateral_srgb=5,
    bilateral_compat=4,
    probability_floor=0.01,
)


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return make_small(tmp_path)


def store(small: Small, likely: dict[str, list[int]]) -> dict[str, NDArray[np.float32]]:
    """Write logits in which only the `likely` classes of 4 count; returns the probabilities of all 4."""
    folder = small.predictions / "logits"
    folder.mkdir()
    rng = np.random.default_rng(8)
    whole = {}
    for name in small.names:
        shape = read_mask(small.data / f"{name}.png").shape
        maps = [rng.normal(size=(4, *size)) * 3 for size in ((4, 4), (6, 6))]
        for one in maps:
            one[[k for k in range(4) if k not in likely[name]]] = -14
        np.savez(folder / f"{name}.npz", *(one.astype(np.float16) for one in maps))
        best = np.maximum(*(enlarged(one.astype(np.float16), shape) for one in maps))
        exponential = np.exp(best - best.max(axis=0))
        whole[name] = (exponential / exponential.sum(axis=0)).astype(np.float32)
    return whole


def enlarged(maps: NDArray[np.float16], size: tuple[int, ...]) -> NDArray[np.float64]:
    """Bilinear between the centres of places, the border repeated: C h w -> C H W."""
    places = [
        np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        for old, new in zip(maps.shape[1:], size, strict=True)
    ]
    grid = np.meshgrid(*places, indexing="ij")
    return np.stack([map_coordinates(one.astype(np.float64), grid, order=1) for one in maps])


def direct(image: NDArray[np.uint8], probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    field = DenseCRF2D(width, height, len(probability))
    energy = -np.log(np.clip(probability, 1e-5, 1))
    field.setUnaryEnergy(np.ascontiguousarray(energy.reshape(len(probability), -1)))
    field.addPairwiseGaussian(sxy=1, compat=1)
    field.addPairwiseBilateral(sxy=121, srgb=5, rgbim=image.copy(), compat=4)
    found = np.array(field.inference(10)).argmax(axis=0).reshape(height, width)
    result: NDArray[np.uint8] = found.astype(np.uint8)
    return result


@pytest.mark.parametrize("kept", [[0, 1, 2, 3], [0, 1, 3]])
def test_agrees_with_pydensecrf_on_all_classes(kept: list[int], small: Small, tmp_path: Path) -> None:
    whole = store(small, dict.fromkeys(small.names, kept))
    crf(CONFIG, small.data, "val", small.predictions, tmp_path / "out")
    for name in small.names:
        found = read_mask(tmp_path / "out" / f"{name}.png")
        image = read_image(small.data / f"{name}.jpg")
        assert (found == direct(image, whole[name])).all()
        assert (found != whole[name].argmax(axis=0)).any()  # the CRF did change something
        assert len(np.unique(found)) > 1


def test_a_single_likely_class_takes_the_image(small: Small, tmp_path: Path) -> None:
    store(small, {name: [k] for k, name in enumerate(small.names)})
    crf(CONFIG, small.data, "test", small.predictions, tmp_path / "out")
    for k, name in enumerate(small.names):
        assert (read_mask(tmp_path / "out" / f"{name}.png") == k).all()


def test_classes_below_the_floor_are_left_out_but_never_a_winner() -> None:
    def found(probability: torch.Tensor, floor: float) -> list[int]:
        kept: list[int] = likely([probability.log()], (48, 40), floor).tolist()
        return kept

    probability = torch.tensor([0.4, 0.3, 0.25, 0.05])[:, None, None].repeat(1, 6, 5)
    assert found(probability, 0.1) == [0, 1, 2]
    assert found(probability, 0.01) == [0, 1, 2, 3]
    assert found(probability, 0.9) == [0]
    probability[:, 1, 1] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    assert found(probability, 0.9) == [0, 2, 3]  # 2 wins between the places, where 0 and 3 are equal


def test_missing_or_foreign_logits_are_named_and_give_no_output(small: Small, tmp_path: Path) -> None:
    store(small, {name: [0, 1] for name in small.names})
    path = small.predictions / "logits" / "p2_s0.npz"
    np.savez(tmp_path / "other.npz", np.zeros((5, 2, 2), np.float16))
    np.savez(tmp_path / "object.npz", np.array([print], dtype=object))
    for content, message in (
        ((tmp_path / "other.npz").read_bytes(), "not maps of 4 classes"),
        ((tmp_path / "object.npz").read_bytes(), "no readable"),
        (b"?", "no readable"),
        (None, "no such file"),
    ):
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(UserError, match=rf"p2_s0\.npz: .*{message}"):
            crf(CONFIG, small.data, "val", small.predictions, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def die_at_p2_s0(sample: Sample) -> str:
    if sample.name == "p2_s0":
        os._exit(9)
    return sample.name


def test_a_worker_that_dies_is_reported_with_its_sample(small: Small) -> None:
    samples = load_split(small.data, "val").samples
    with pytest.raises(UserError, match="p2_s0 died"):
        list(for_each(die_at_p2_s0, samples, "work"))
