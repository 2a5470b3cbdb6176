"""Broken annotations of COCO."""

import json
from pathlib import Path

import pytest
from PIL import Image
from spoilt import Case, accepted, cut, refused, write

from unia.recipe import CocoData

COCO = CocoData(kind="coco", source="bad", crowd="paint", min_area=0)
TRAIN2017 = "annotations/instances_train2017.json"


def coco() -> Path:
    for split in ("train", "val"):
        Path("bad", f"{split}2017").mkdir(parents=True)
        images, annotations = [], []
        for number in range(3):
            name = f"{split}{number}.jpg"
            Image.new("RGB", (8, 6)).save(f"bad/{split}2017/{name}")
            images.append({"id": number, "file_name": name, "height": 6, "width": 8})
            square = [[1, 1, 4, 1, 4, 4, 1, 4]]
            annotations.append({"image_id": number, "category_id": 1, "segmentation": square, "iscrowd": 0})
        table = Path("bad/annotations") / f"instances_{split}2017.json"
        table.parent.mkdir(exist_ok=True)
        categories = [{"id": 1, "name": "person"}]
        table.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return Path("bad")


def annotate(root: Path, file: str, part: str, **changes: object) -> None:
    content = json.loads((root / file).read_text())
    content[part][0] |= changes
    (root / file).write_text(json.dumps(content))


CASES: dict[str, Case] = {
    "JSON cut short": (cut, (TRAIN2017,), "instances_train2017.json: not valid JSON (", False),
    "JSON of captions": (
        write,
        (TRAIN2017, '{"images": [], "annotations": [{"caption": "a cat"}]}'),
        "instances_train2017.json: holds no COCO instance annotations (KeyError('categories'))",
        False,
    ),
    "category unknown": (
        lambda root: annotate(root, TRAIN2017, "annotations", category_id=12),
        (),
        "instances_train2017.json: train0: category 12 is none of the file's categories",
        True,
    ),
    "categories of another kind": (
        lambda root: annotate(root, TRAIN2017, "categories", name="rose"),
        (),
        "instances_train2017.json: category 1 is 'rose', none of COCO's; for annotations in COCO's format",
        False,
    ),
    "no segmentation": (
        lambda root: annotate(root, TRAIN2017, "annotations", segmentation={"counts": "x"}),
        (),
        "train0.jpg: its annotations cannot be painted (no segmentation: KeyError('size'))",
        True,
    ),
    "annotation of no image": (
        lambda root: annotate(root, TRAIN2017, "annotations", image_id=99),
        (),
        "instances_train2017.json: image 99 has annotations, but is not among the images",
        True,
    ),
    "image not as annotated": (
        lambda root: annotate(root, TRAIN2017, "images", width=9),
        (),
        "train0.png: is 9x6, its image 8x6",
        True,
    ),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_is_good_before_it_is_broken() -> None:
    accepted(coco, COCO)


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str) -> None:
    refused(coco, COCO, name, CASES[name])
