"""README's chapter on own annotations in COCO's format, followed to the letter; nothing is trained."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from unia.config import load
from unia.data.samples import load_split, read_mask
from unia.errors import UserError
from unia.recipe import CocoData
from unia.steps.download import download
from unia.steps.prepare import prepare

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHAPTER = README.split("## Your own annotations in COCO's format")[1].split("\n## ")[0]
RAW, OUT = Path("data/raw/garden.json"), Path("data/garden")
IDS = {"plants": 0, "tulip": 1, "rose": 7}  # as exporters number them; the first is above the others


def square(x: int, y: int) -> list[list[int]]:
    return [[x, y, x + 4, y, x + 4, y + 4, x, y + 4]]


def grow(split: str, pictures: dict[str, list[tuple[str, int, int]]], folder: str) -> None:
    """A split's annotations, and its images in garden/<folder>: file name -> (class, x, y) of its squares."""
    images, annotations = [], []
    for number, (name, things) in enumerate(pictures.items()):
        path = Path("garden", folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 16)).save(path)
        images.append({"id": number, "file_name": name, "width": 24, "height": 16})
        annotations += [
            {"image_id": number, "category_id": IDS[name], "segmentation": square(x, y), "iscrowd": 0}
            for name, x, y in things
        ]
    categories = [{"id": number, "name": name} for name, number in IDS.items()]
    table = Path("garden/annotations", f"instances_{split}.json")
    table.parent.mkdir(exist_ok=True)
    table.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def edit(split: str, **changes: Any) -> None:
    """Change the first annotation of a split."""
    table = Path("garden/annotations", f"instances_{split}.json")
    content = json.loads(table.read_text())
    content["annotations"][0] |= changes
    table.write_text(json.dumps(content))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CocoData:
    """The chapter's parameters, in a folder with its garden: two images of one name, and one of nothing."""
    monkeypatch.chdir(tmp_path)
    (section,) = re.findall(r"```yaml\n(.*?)```", CHAPTER, re.DOTALL)
    garden = yaml.safe_load(section)["garden"]
    data = load(ROOT / "params.yaml", [f"datasets.garden={json.dumps(garden)}"]).recipe("garden").data
    assert isinstance(data, CocoData)
    beds = {
        "north/1.png": [("rose", 2, 2), ("tulip", 12, 8)],
        "south/1.png": [("tulip", 3, 3)],
        "empty.png": [],
    }
    grow("train", beds, "train")
    grow("val", {"val/1.png": [("rose", 0, 0)]}, ".")  # the path names the split's folder itself
    return data


def test_the_chapter_as_written(config: CocoData, capsys: pytest.CaptureFixture[str]) -> None:
    download("garden", config, RAW)
    prepare("garden", config, RAW, OUT)
    assert "train: 1 of 3 images show no object that counts: left out\n" in capsys.readouterr().err
    train, val = load_split(OUT, "train"), load_split(OUT, "val")
    assert train.classes == ("rose", "tulip")
    assert [(s.name, s.image, s.labels) for s in train.samples] == [
        ("north_1", Path("garden/train/north/1.png"), (1, 2)),
        ("south_1", Path("garden/train/south/1.png"), (2,)),
    ]
    assert [(s.image, s.labels) for s in val.samples] == [(Path("garden/val/1.png"), (1,))]
    mask = train.samples[0].mask
    assert mask is not None
    expected = np.zeros((16, 24), np.uint8)
    expected[2:6, 2:6], expected[8:12, 12:16] = 1, 2
    np.testing.assert_array_equal(read_mask(mask), expected)


def test_other_categories_are_never_taken_for_one_s_own(config: CocoData) -> None:
    download("garden", config, RAW)
    edit("val", category_id=IDS["plants"])
    with pytest.raises(UserError, match=r"category 0 is 'plants', none of data\.classes: rose, tulip"):
        prepare("garden", config, RAW, OUT)
    with pytest.raises(UserError, match="category 0 is 'plants', none of COCO's; for annotations in COCO's"):
        prepare("garden", config.model_copy(update={"classes": None}), RAW, OUT)
    assert not OUT.exists()


def test_own_classes_need_a_source(config: CocoData) -> None:
    with pytest.raises(UserError, match="source: must name the folder of data that has classes of its own"):
        load(ROOT / "params.yaml", ["datasets.coco.data.classes=[rose]"])
