"""Broken masks of the Semantic Boundaries Dataset."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from spoilt import Case, accepted, cut, refused

from unia.data.samples import write_label
from unia.recipe import VocData

SBD = VocData(kind="voc", source="bad", augmented="sbd", labels="annotations")
IMAGES, NOTES, LISTS = "JPEGImages", "Annotations", "ImageSets/Segmentation"


def sbd() -> Path:
    """Two of SBD's masks, one of VOC's own."""
    root = Path("bad/VOCdevkit/VOC2012")
    for part in (IMAGES, NOTES, LISTS, "SegmentationClass"):
        (root / part).mkdir(parents=True)
    Path("bad/dataset/cls").mkdir(parents=True)
    for name in "abv":
        Image.new("RGB", (8, 6)).save(root / IMAGES / f"{name}.jpg")
        (root / NOTES / f"{name}.xml").write_text("<a><object><name>cat</name></object></a>")
        savemat(f"bad/dataset/cls/{name}.mat", {"GTcls": {"Segmentation": np.full((6, 8), 8, np.uint8)}})
    write_label(root / "SegmentationClass/v.png", np.full((6, 8), 8, np.uint8))
    (root / LISTS / "val.txt").write_text("v\n")
    return root


def matlab(root: Path, file: str, values: np.ndarray) -> None:
    savemat(root.parent.parent / file, {"GTcls": {"Segmentation": values}})


CASES: dict[str, Case] = {
    "mat unreadable": (cut, ("../../dataset/cls/a.mat",), "a.mat: holds no segmentation of SBD (", True),
    "mat out of range": (
        matlab,
        ("dataset/cls/a.mat", np.full((6, 8), 99)),
        "a.mat: GTcls.Segmentation must be H x W class ids of VOC",
        True,
    ),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_is_good_before_it_is_broken() -> None:
    accepted(sbd, SBD)


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str) -> None:
    refused(sbd, SBD, name, CASES[name])
