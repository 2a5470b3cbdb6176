"""Pseudo labels: no pixel may differ from the reference's; batches, empty images and odd sizes."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unia.refine import pseudo_label
from unia.refine.pseudo_label import (
    cam_label,
    cam_label_background,
    confident,
    mutual,
    refined_labels,
    to_tokens,
    token_label,
    undo_normalisation,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "pseudo_labels.npz"
HIGH, LOW, BACKGROUND = 0.7, 0.25, 0.5
PAR: dict[str, Any] = {"dilations": (1, 2, 4, 8, 12, 24), "iterations": 10}


@cache
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays}


def inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """cams, labels, affinity, images of the reference."""
    cams, labels, affinity, images = (
        golden()[key].to(dtype) for key in ("cams", "labels", "affinity", "images")
    )
    return cams, labels, affinity, images


def golden_refined(cams: Tensor, labels: Tensor, affinity: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    return refined_labels(cams, labels, affinity, images, high=HIGH, low=LOW, tokens=(10, 10), **PAR)


def wrong(found: Tensor, name: str) -> int:
    return int((found != golden()[name].long()).sum())


@pytest.mark.golden
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reference(dtype: torch.dtype) -> None:
    cams, labels, affinity, images = inputs(dtype)
    two = cam_label(cams, labels, HIGH, LOW)
    refined, affinity_refined = golden_refined(cams, labels, affinity, images)
    found = {
        "cam_label_two_thresholds": two,
        "cam_label_background": cam_label_background(cams, labels, BACKGROUND),
        "par_refined": refined,
        "affinity_par_refined": affinity_refined,
        "mutual_early": mutual(two, refined, affinity_refined, late=False),
        "mutual_late": mutual(two, refined, affinity_refined, late=True),
    }
    counts = {name: wrong(label, name) for name, label in found.items()}
    print(f"wrong pixels, {dtype}: {counts}")
    assert set(counts.values()) == {0}
    assert all(label.dtype == torch.int64 for label in found.values())


@pytest.mark.golden
def test_reference_catches_a_transposed_affinity() -> None:
    cams, labels, affinity, images = inputs()
    assert wrong(golden_refined(cams, labels, affinity.transpose(1, 2), images)[1], "affinity_par_refined")


@pytest.mark.golden
def test_reference_catches_aligned_corners(monkeypatch: pytest.MonkeyPatch) -> None:
    def aligned(maps: Tensor, size: tuple[int, int]) -> Tensor:
        return torch.nn.functional.interpolate(maps, size, mode="bilinear", align_corners=True)

    monkeypatch.setattr(pseudo_label, "resize", aligned)
    refined, affinity_refined = golden_refined(*inputs())
    assert wrong(refined, "par_refined")
    assert wrong(affinity_refined, "affinity_par_refined")


def values(label: Tensor) -> set[int]:
    return set(label.flatten().tolist())


def scene(sizes: tuple[int, int] = (21, 34)) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """cams, labels, affinity of 2 x 3 tokens, images: 3 images of 4 classes, the last with none."""
    generator = torch.Generator().manual_seed(3)
    cams = torch.rand(3, 4, *sizes, generator=generator)
    labels = torch.tensor([[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    return (
        cams,
        labels,
        torch.rand(3, 6, 6, generator=generator),
        torch.rand(3, 3, *sizes, generator=generator),
    )


def refined_scene(*scene: Tensor) -> tuple[Tensor, Tensor]:
    return refined_labels(
        *scene,
        high=0.5,
        low=0.2,
        tokens=(2, 3),
        dilations=(1, 2, 4),
        iterations=3,
    )


@pytest.mark.parametrize("sizes", [(21, 34), (16, 16), (13, 7)])
def test_a_batch_is_its_images(sizes: tuple[int, int]) -> None:
    arrays = scene(sizes)
    together = refined_scene(*arrays)
    for image in range(3):
        alone = refined_scene(*(array[image : image + 1] for array in arrays))
        for label, expected in zip(together, alone, strict=True):
            assert label.shape == (3, *sizes)
            assert torch.equal(label[image : image + 1], expected)


def test_only_present_classes_are_named() -> None:
    for label in refined_scene(*scene()):
        assert values(label[0]) <= {0, 2, 4, 255}
        assert values(label[1]) <= {0, 3, 255}


def test_an_image_without_classes_is_background() -> None:
    cams, labels, affinity, images = scene()
    refined, affinity_refined = refined_scene(cams, labels, affinity, images)
    two, one = cam_label(cams, labels, 0.5, 0.2), cam_label_background(cams, labels, 0.5)
    for label in (refined, affinity_refined, two, one, token_label(cams, labels, (2, 3), 0.5, 0.2)):
        assert not label[2].any()


def test_thresholds_are_inclusive_below() -> None:
    cams = torch.tensor([[[[0.1, 0.25, 0.5, 0.75, 0.8]], [[0.9, 0.9, 0.9, 0.9, 0.9]]]])
    labels = torch.tensor([[1, 0]])
    assert cam_label(cams, labels, 0.75, 0.25).tolist() == [[[0, 0, 255, 255, 1]]]
    assert cam_label_background(cams, labels, 0.5).tolist() == [[[0, 0, 0, 1, 1]]]


def test_mutual() -> None:
    #                             both name   refined alone      pseudo agrees   pseudo alone, none
    pseudo = torch.tensor([[[1, 1, 0, 255, 2, 2, 0, 255, 2, 1]]])
    refined = torch.tensor([[[2, 2, 3, 3, 2, 2, 0, 255, 0, 0]]])
    affinity = torch.tensor([[[1, 0, 255, 0, 1, 255, 1, 2, 255, 1]]])
    assert mutual(pseudo, refined, affinity, late=False).tolist() == [[[1, 2, 3, 3, 1, 2, 1, 2, 255, 1]]]
    assert mutual(pseudo, refined, affinity, late=True).tolist() == [[[1, 2, 3, 3, 2, 2, 1, 2, 255, 1]]]


@pytest.mark.parametrize(("present", "name"), [([1, 1, 1], 1), ([0, 1, 1], 255), ([0, 0, 1], 0)])
def test_token_label_of_constant_cams(present: list[int], name: int) -> None:
    cams = torch.tensor([0.9, 0.6, 0.1])[None, :, None, None].expand(1, 3, 12, 18)
    label = token_label(cams, torch.tensor([present]), (2, 3), high=0.7, low=0.25)
    assert label.shape == (1, 2, 3)
    assert values(label) == {name}


def test_to_tokens_nearest_takes_the_centre() -> None:
    label = torch.arange(64).view(1, 8, 8)
    assert to_tokens(label, 2, 2, "nearest").tolist() == [[[18, 22], [50, 54]]]


def test_to_tokens_bilinear_mixes_numbers_as_quantities() -> None:
    """As the reference does: equal mixtures match one another, and a class by chance."""
    label = torch.full((1, 8, 8), 3)
    label[:, :, 3:] = 255  # the border lies inside the second column of the tokens
    label[:, :2, 6:] = torch.tensor([[1, 3], [3, 1]])
    tokens = to_tokens(label, 4, 4, "bilinear")[0]
    assert tokens[:, 0].tolist() == [3, 3, 3, 3]
    assert tokens[:, 1].tolist() == [129, 129, 129, 129]
    assert tokens[:, 3].tolist() == [2, 255, 255, 255]


@pytest.mark.parametrize("how", ["nearest", "bilinear"])
def test_pure_labels_survive(how: Any) -> None:
    for value in (0, 7, 255):
        tokens = to_tokens(torch.full((2, 42, 65), value), 3, 5, how)  # patches of 14 and 13 pixels
        assert tokens.shape == (2, 3, 5)
        assert values(tokens) == {value}


def test_confident() -> None:
    label = torch.zeros(1, 4, 4, dtype=torch.int64)
    label[0, :2, :2], label[0, 2:, :2], label[0, 0, 2] = 5, 255, 9
    assert confident(label, (2, 2)).tolist() == [[[1.0, 0.25], [0.0, 0.0]]]
    assert confident(label, (4, 4))[0, 0].tolist() == [1, 1, 1, 0]


def test_undo_normalisation_truncates() -> None:
    pixels = torch.tensor([[0.0, 0.5, 127.3, 254.9, 255.0]], dtype=torch.float64).expand(3, 1, 5)
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64)[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64)[:, None, None]
    back = undo_normalisation(((pixels + 1e-9) / 255 - mean)[None] / std) * 255
    torch.testing.assert_close(back[0, :, 0], torch.tensor([[0, 0, 127, 254, 255]] * 3, dtype=torch.float64))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("step", ["refined", "thresholds", "tokens"])
def test_nothing_waits_for_the_gpu(step: str) -> None:
    cams, labels, affinity, images = (array.cuda() for array in scene())
    label = cam_label(cams, labels, 0.5, 0.2)
    steps: dict[str, Callable[[], object]] = {
        "refined": lambda: mutual(label, *refined_scene(cams, labels, affinity, images), late=True),
        "thresholds": lambda: (cam_label_background(cams, labels, 0.5), undo_normalisation(images)),
        "tokens": lambda: (to_tokens(label, 2, 3, "bilinear"), confident(label, (2, 3))),
    }
    steps[step]()  # constants are made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        steps[step]()
    finally:
        torch.cuda.set_sync_debug_mode("default")
