"""The CRF step against a direct call of pydensecrf on all classes."""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates
from small_split import Small, make_small

from benchmarks.crf import plain
from unia.data.samples import Sample, load_split, read_image, read_mask
from unia.data.shapes import draw
from unia.errors import UserError
from unia.parallel import for_each
from unia.recipe import Crf
from unia.refine.dense_crf import mean_field
from unia.steps.crf import crf, likely

CONFIG = Crf(
    iterations=10,
    settled=0,
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
    """Write images and logits in which only the `likely` classes of 4 count; returns all 4 probabilities."""
    folder = small.predictions / "logits"
    folder.mkdir()
    rng = np.random.default_rng(8)
    whole = {}
    for number, name in enumerate(small.names):
        drawn, mask, _ = draw(139, (0, 1, number))
        drawn, mask = drawn[:96], mask[:96] % 4
        Image.fromarray(drawn).save(small.data / f"{name}.jpg", quality=95)
        maps = [rng.normal(size=(4, *size)) for size in ((12, 18), (18, 25))]
        for one in maps:
            for k in likely[name]:
                place = np.asarray(Image.fromarray(np.uint8(mask == k)).resize(one.shape[:0:-1]))
                one[k] += 4 * place
            one[[k for k in range(4) if k not in likely[name]]] = -14
        np.savez(folder / f"{name}.npz", *(one.astype(np.float16) for one in maps))
        best = np.maximum(*(enlarged(one.astype(np.float16), mask.shape) for one in maps))
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


@pytest.mark.parametrize(("kept", "settled"), [([0, 1, 2, 3], 0), ([0, 1, 3], 0), ([0, 1, 3], 3e-4)])
def test_agrees_with_pydensecrf_on_all_classes(
    kept: list[int], settled: float, small: Small, tmp_path: Path
) -> None:
    """Images 139 pixels wide: a size at which pydensecrf's table of keys needs points to spare."""
    config = CONFIG.model_copy(update={"settled": settled})
    whole = store(small, dict.fromkeys(small.names, kept))
    crf(config, small.data, "val", small.predictions, tmp_path / "out")
    for name in small.names:
        found = read_mask(tmp_path / "out" / f"{name}.png")
        image = read_image(small.data / f"{name}.jpg")
        assert (found == plain(CONFIG, image, whole[name])).mean() >= 0.999
        assert (found != whole[name].argmax(axis=0)).mean() >= 0.01  # the CRF did change something
        assert len(np.unique(found)) > 1


def test_the_gaussian_term_is_that_of_all_pairs_of_pixels() -> None:
    """Mean field by the matrix of the kernel, normalised on both sides; no bilateral term."""
    sigma, compat, (height, width) = 2.0, 3.0, (24, 20)
    changed = {"iterations": 5, "gaussian_sxy": sigma, "gaussian_compat": compat, "bilateral_compat": 0}
    rng = np.random.default_rng(2)
    unary = -rng.normal(size=(3, height * width))
    place = np.indices((height, width)).reshape(2, -1)
    kernel = np.exp(-((place[:, None] - place[:, :, None]) ** 2).sum(0) / (2 * sigma**2))
    kernel /= np.sqrt(np.outer(kernel.sum(0), kernel.sum(1)))
    belief = start = scipy.special.softmax(-unary, 0)
    for _ in range(5):
        belief = scipy.special.softmax(-unary + compat * belief @ kernel, 0)
    expected, image = belief.argmax(0), rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = mean_field(CONFIG.model_copy(update=changed), image, start.reshape(3, height, width))
    assert (expected != start.argmax(0)).mean() > 0.1
    assert (found.flatten() == expected).all()


def test_iterations_end_where_the_classes_are_settled() -> None:
    image, mask, _ = draw(60, (0, 1, 0))
    noise = torch.from_numpy(np.random.default_rng(5).normal(size=(60, 60, 7)))
    probability = (2 * torch.eye(7)[mask.astype(int)] + noise).softmax(2).permute(2, 0, 1).numpy()

    def after(iterations: int, settled: float) -> NDArray[np.intp]:
        config = CONFIG.model_copy(update={"iterations": iterations, "settled": settled})
        return mean_field(config, image, probability)

    assert (after(0, 0) == probability.argmax(axis=0)).all()
    assert (after(1, 0) != after(0, 0)).any()
    assert (after(10, 1) == after(1, 0)).all()
    assert (after(100, 0) == after(101, 0)).all()


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
