"""The CRF step against a direct call of pydensecrf on all classes."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydensecrf.densecrf import DenseCRF2D
from small_split import Small, make_small

from unia.data.samples import Sample, load_split, read_image, read_mask
from unia.errors import UserError
from unia.recipe import Crf
from unia.steps.crf import crf
from unia.steps.parallel import for_each

CONFIG = Crf(
    iterations=10,
    gaussian_sxy=1,
    gaussian_compat=1,
    bilateral_sxy=121,
    bilateral_srgb=5,
    bilateral_compat=4,
)


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return make_small(tmp_path)


def softmax(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Smooth probabilities of 4 classes, 4 x H x W, of which class 2 is nowhere likely."""
    coarse = rng.normal(size=(4, 4, 4)) * 2
    coarse[2] = -12
    rows, columns = (np.arange(n) * 4 // n for n in shape)
    logits = coarse[:, rows][:, :, columns] + rng.normal(size=(4, *shape)) * 0.5
    exponential = np.exp(logits)
    result: NDArray[np.float64] = exponential / exponential.sum(axis=0)
    return result


def store(small: Small, classes: dict[str, list[int]]) -> dict[str, NDArray[np.float16]]:
    """Write the probabilities of `classes` of each image; returns those of all classes."""
    folder = small.predictions / "probabilities"
    folder.mkdir()
    rng = np.random.default_rng(8)
    whole = {}
    for name in small.names:
        whole[name] = softmax(read_mask(small.data / f"{name}.png").shape, rng).astype(np.float16)
        kept = np.array(classes[name], dtype=np.uint8)
        np.savez(folder / f"{name}.npz", classes=kept, probability=whole[name][kept])
    return whole


def direct(image: NDArray[np.uint8], probability: NDArray[np.float16]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    field = DenseCRF2D(width, height, len(probability))
    energy = -np.log(np.clip(probability.astype(np.float32), 1e-5, 1))
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


def test_a_single_stored_class_takes_the_image(small: Small, tmp_path: Path) -> None:
    store(small, {name: [k] for k, name in enumerate(small.names)})
    crf(CONFIG, small.data, "test", small.predictions, tmp_path / "out")
    for k, name in enumerate(small.names):
        assert (read_mask(tmp_path / "out" / f"{name}.png") == k).all()


def test_missing_or_foreign_probabilities_are_named_and_leave_no_output(small: Small, tmp_path: Path) -> None:
    store(small, {name: [0, 1] for name in small.names})
    path = small.predictions / "probabilities" / "p2_s0.npz"
    other = (small.predictions / "probabilities" / "p1_s0.npz").read_bytes()
    for content, message in ((other, "the image is 26 x 32"), (b"?", "no readable"), (None, "no such file")):
        path.unlink() if content is None else path.write_bytes(content)
        with pytest.raises(UserError, match=rf"p2_s0\.npz: .*{message}"):
            crf(CONFIG, small.data, "val", small.predictions, tmp_path / "out")
        assert not list(tmp_path.glob("*out*"))


def die_at_p2_s0(sample: Sample) -> str:
    if sample.name == "p2_s0":
        os._exit(9)
    return sample.name


def test_a_worker_that_dies_is_reported_with_its_sample(small: Small) -> None:
    samples = load_split(small.data, "val").samples
    with pytest.raises(UserError, match="p2_s0 died"):
        list(for_each(die_at_p2_s0, samples, "work"))
