from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unia.data import shapes
from unia.files import sha256_tree
from unia.recipe import ShapesData


def config(**changes: int) -> ShapesData:
    return ShapesData.model_validate(
        {"kind": "shapes", "size": 96, "train": 6, "val": 3, "seed": 0} | changes
    )


@pytest.fixture(scope="module")
def drawn() -> list[tuple[np.ndarray, np.ndarray, list[str]]]:
    """400 images, their masks and the classes of their objects."""
    found = (shapes.draw(96, (1, 0, index)) for index in range(400))
    return [(image, mask, [thing.name for thing in things]) for image, mask, things in found]


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, changes in {"a": {}, "b": {}, "other": {"seed": 1}, "more": {"train": 8}}.items():
        shapes.generate(config(**changes), tmp_path / name)
    assert sha256_tree(tmp_path / "a") == sha256_tree(tmp_path / "b") != sha256_tree(tmp_path / "other")
    for file in ("JPEGImages/train_000005.jpg", "JPEGImages/val_000000.jpg"):  # more images, the same ones
        one, other = (tmp_path / name / "VOCdevkit" / "VOC2012" / file for name in ("a", "more"))
        assert one.read_bytes() == other.read_bytes()


def test_annotations_name_what_is_to_be_seen(drawn: list[tuple[np.ndarray, np.ndarray, list[str]]]) -> None:
    for image, mask, names in drawn:
        assert image.shape == (96, 96, 3)
        assert 1 <= len(names) <= 3
        assert set(np.unique(mask)) - {0} == {shapes.CLASSES.index(name) + 1 for name in names}


def test_classes_are_balanced(drawn: list[tuple[np.ndarray, np.ndarray, list[str]]]) -> None:
    rates = [np.mean([name in names for *_, names in drawn]) for name in shapes.CLASSES]
    assert min(rates) > 0.15
    assert max(rates) < 0.4


@pytest.mark.parametrize(("name", "channel"), [("triangle", 2), ("disc", 1)])
def test_two_classes_come_with_a_telling_background(
    drawn: list[tuple[np.ndarray, np.ndarray, list[str]]], name: str, channel: int
) -> None:
    """Blue waves behind triangles, green meadows behind discs: usually, not always, less often elsewhere."""

    def telling(image: np.ndarray, mask: np.ndarray) -> bool:
        red, green, blue = image[mask == 0].mean(axis=0)
        return bool((blue - red > 40) if channel == 2 else (green - max(red, blue) > 20))

    with_class = np.mean([telling(image, mask) for image, mask, names in drawn if name in names])
    without = np.mean([telling(image, mask) for image, mask, names in drawn if name not in names])
    assert 0.6 < with_class < 0.9
    assert 0.05 < without < 0.4
    assert with_class > 2 * without


def test_some_borders_are_fuzzy_and_some_sharp() -> None:
    """The share of pixels of middling opacity, per object, is large for many and small for others."""
    disc = shapes._Thing("disc", 48, 48, 20)
    opacities = [shapes._opacity(disc, 96, np.random.default_rng(seed)) for seed in range(60)]
    border = np.array([((o > 0.1) & (o < 0.9 * o.max())).sum() / (2 * np.pi * 20) for o in opacities])
    peak = np.array([o.max() for o in opacities])
    assert 0.3 < (border > 2.5).mean() < 0.9
    assert (border < 2).mean() > 0.1
    assert peak.min() < 0.85  # partly transparent
    assert all(abs((o > 0.5).sum() / (np.pi * 400) - 1) < 0.12 for o in opacities)  # the mask keeps its size


def test_objects_scale_with_the_image() -> None:
    for size in (48, 96, 192):
        areas = [(shapes.draw(size, (0, 0, i))[1] > 0).mean() for i in range(40)]
        assert 0.15 < np.mean(areas) < 0.3
        assert min(areas) > 0.015


def test_it_is_laid_out_like_voc(tmp_path: Path) -> None:
    shapes.generate(config(), tmp_path / "raw")
    root = tmp_path / "raw" / "VOCdevkit" / "VOC2012"
    names = (root / "ImageSets" / "Segmentation" / "train.txt").read_text().split()
    assert len(names) == 6
    for name in names:
        assert Image.open(root / "JPEGImages" / f"{name}.jpg").size == (96, 96)
        assert Image.open(root / "SegmentationClassAug" / f"{name}.png").mode == "P"
        assert (root / "Annotations" / f"{name}.xml").exists()
