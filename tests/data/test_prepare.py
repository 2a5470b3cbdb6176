"""From a dataset's parameters to its prepared folder: the steps download and prepare."""

import csv
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unia.data.samples import load_split, read_mask, write_label
from unia.errors import UserError
from unia.files import read_json, sha256, sha256_tree
from unia.recipe import AcdcData, CocoData, ShapesData, Tile, VocData
from unia.steps.download import download
from unia.steps.prepare import prepare

SHAPES = ShapesData(kind="shapes", size=48, train=5, val=3, seed=0)
RAW, OUT = Path("data/raw/shapes.json"), Path("data/shapes")
VOC = RAW.with_suffix("") / "VOCdevkit" / "VOC2012"


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shapes, downloaded with relative paths, as the workflow does."""
    monkeypatch.chdir(tmp_path)
    download("shapes", SHAPES, RAW)
    return RAW


def test_shapes_from_parameters_to_splits(raw: Path) -> None:
    prepare("shapes", SHAPES, raw, OUT)
    assert read_json(raw)["roots"] == ["data/raw/shapes"]
    about = read_json(OUT / "dataset.json")
    assert (about["name"], about["kind"], about["unions"]) == ("shapes", "shapes", {})
    assert {split: about["splits"][split]["images"] for split in about["splits"]} == {"train": 5, "val": 3}
    for split in ("train", "val"):
        found = load_split(OUT, split)
        counts = dict.fromkeys(found.classes, 0)
        for sample in found.samples:
            assert not sample.image.is_absolute()
            assert sample.mask is not None
            present = tuple(k for k in np.unique(read_mask(sample.mask)).tolist() if k)
            assert sample.labels == present
            for k in present:
                counts[found.classes[k - 1]] += 1
        assert about["splits"][split]["per_class"] == counts
    with (OUT / "val.csv").open() as file:
        for row in csv.DictReader(file):
            assert row["image_sha256"] == sha256(Path(row["image"]))
            assert row["mask_sha256"] == sha256(Path(row["mask"]))


def test_again_gives_the_same_bytes(raw: Path) -> None:
    prepare("shapes", SHAPES, raw, OUT)
    first, record = sha256_tree(OUT), raw.read_bytes()
    download("shapes", SHAPES, raw)
    prepare("shapes", SHAPES, raw, OUT)
    assert sha256_tree(OUT) == first
    assert raw.read_bytes() == record
    assert sorted(os.listdir("data")) == ["raw", "shapes"]  # noqa: PTH208


def test_all_problems_are_told_at_once_and_nothing_is_left(raw: Path) -> None:
    (VOC / "JPEGImages/train_000000.jpg").unlink()
    image = VOC / "JPEGImages/train_000001.jpg"
    image.write_bytes(image.read_bytes()[:300])
    write_label(VOC / "SegmentationClassAug/train_000002.png", np.zeros((48, 40), np.uint8))
    write_label(VOC / "SegmentationClassAug/train_000003.png", np.full((48, 48), 7, np.uint8))
    fine = np.full((48, 48), 255, np.uint8)
    fine[0, 0] = 1
    write_label(VOC / "SegmentationClassAug/train_000004.png", fine)
    Image.new("RGB", (48, 48)).save(VOC / "SegmentationClassAug/val_000000.png")
    (VOC / "SegmentationClassAug/val_000002.png").unlink()
    (VOC / "ImageSets/Segmentation/val.txt").write_text("val_000000\nval_000001\nval_000001\nval_000002\n")
    with pytest.raises(UserError) as caught:
        prepare("shapes", SHAPES, raw, OUT)
    message = str(caught.value)
    assert message.startswith("shapes: 7 problems: ")
    assert "\n" not in message
    for part in (
        "train_000000.jpg: is missing",
        "train_000001.jpg: cannot be read",
        "train_000002.png: is 40x48, its image 48x48",
        "train_000003.png: holds [7], classes end at 6",
        "val_000000.png: a mask must hold class ids",
        "val_000001 is listed more than once",
        "val_000002.png: no such file",
        "All are in data/shapes.problems.csv",
        "datasets.shapes.data.problems: leave_out",
    ):
        assert part in message
    assert sorted(os.listdir("data")) == ["raw", "shapes.problems.csv"]  # noqa: PTH208


def test_many_problems_are_counted_and_some_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    many = SHAPES.model_copy(update={"train": 30})
    download("shapes", many, RAW)
    for image in (VOC / "JPEGImages").glob("train*"):
        image.unlink()
    with pytest.raises(
        UserError, match=r"31 problems: .*; and 11 more\. All are in data/shapes\.problems\.csv"
    ):
        prepare("shapes", many, RAW, OUT)
    assert len(problems(Path("data/shapes.problems.csv"))) == 31


def test_samples_with_problems_can_be_left_out(raw: Path) -> None:
    """Their reasons are kept; what stopped an earlier run is forgotten."""
    (VOC / "JPEGImages/train_000001.jpg").write_bytes(b"")
    write_label(VOC / "SegmentationClassAug/train_000001.png", np.full((48, 48), 7, np.uint8))
    write_label(VOC / "SegmentationClassAug/val_000000.png", np.full((48, 48), 7, np.uint8))
    lists = VOC / "ImageSets/Segmentation/val.txt"
    lists.write_text(lists.read_text() + "val_000001\n")  # twice alike: one stays
    with pytest.raises(UserError):
        prepare("shapes", SHAPES, raw, OUT)
    prepare("shapes", SHAPES.model_copy(update={"problems": "leave_out"}), raw, OUT)
    names = {split: [s.name for s in load_split(OUT, split).samples] for split in ("train", "val")}
    assert names["train"] == [f"train_{k:06d}" for k in (0, 2, 3, 4)]
    assert names["val"] == ["val_000001", "val_000002"]
    assert [(p["split"], p["name"], Path(p["file"]).suffix) for p in problems(OUT / "problems.csv")] == [
        ("train", "train_000001", ".jpg"),
        ("train", "train_000001", ".png"),
        ("val", "val_000000", ".png"),
        ("val", "val_000001", ".jpg"),
    ]
    assert not Path("data/shapes.problems.csv").exists()


def test_what_concerns_a_whole_split_stops_all_the_same(raw: Path) -> None:
    (VOC / "ImageSets/Segmentation/val.txt").write_text("")
    with pytest.raises(UserError, match="1 problem: split val: has no usable image") as caught:
        prepare("shapes", SHAPES.model_copy(update={"problems": "leave_out"}), raw, OUT)
    assert "leave_out" not in str(caught.value)
    assert not OUT.exists()


def problems(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_raw_data_must_be_what_the_parameters_say(raw: Path) -> None:
    voc = VocData(kind="voc", source=None, augmented="zip", labels="masks")
    with pytest.raises(UserError, match="is of kind shapes, not voc; run the download step again"):
        prepare("shapes", voc, raw, OUT)
    VOC.parent.parent.rename("elsewhere")
    with pytest.raises(UserError, match="data/raw/shapes: is gone"):
        prepare("shapes", SHAPES, raw, OUT)
    with pytest.raises(UserError, match="no such file; run the step"):
        prepare("shapes", SHAPES, Path("data/raw/none.json"), OUT)


def test_a_folder_is_used_where_it_is_and_archives_are_unpacked(raw: Path) -> None:
    """The same images in VOC's classes: as a folder, as an archive, and half of each."""
    voc = VocData(kind="voc", source="source", augmented="zip", labels="masks")
    raw.with_suffix("").rename("source")
    masks = Path("source/VOCdevkit/VOC2012/SegmentationClassAug")
    download("voc", voc, Path("data/raw/voc.json"))
    prepare("voc", voc, Path("data/raw/voc.json"), Path("data/voc"))
    assert read_json(Path("data/raw/voc.json"))["roots"] == ["source"]
    expected = [(s.name, s.labels) for s in load_split(Path("data/voc"), "train").samples]
    assert len(expected) == 5

    with zipfile.ZipFile("source/SegmentationClassAug.zip", "w") as file:  # files at the top of it
        for path in masks.iterdir():
            file.write(path, path.name)
            path.unlink()
    masks.rmdir()
    download("voc", voc, Path("data/raw/voc.json"))
    prepare("voc", voc, Path("data/raw/voc.json"), Path("data/voc"))
    samples = load_split(Path("data/voc"), "train").samples
    assert [(s.name, s.labels) for s in samples] == expected
    assert samples[0].image.parts[0] == "source"
    assert str(samples[0].mask).startswith("data/raw/voc/unpacked/")
    assert [Path(s["path"]).name for s in read_json(Path("data/raw/voc.json"))["sources"]] == [
        "SegmentationClassAug.zip",
        "source",
    ]


def test_sources_that_cannot_be_had_say_what_to_do(tmp_path: Path) -> None:
    acdc = AcdcData(
        kind="acdc",
        source=None,
        target="classes",
        split_by="patient",
        tags="slice",
        tile=Tile(side=64, stride=32, presence=1),
        val_fraction=0.2,
        seed=0,
        percentiles=(0.0, 99.5),
    )
    voc = VocData(kind="voc", source=None, augmented="zip", labels="masks")
    coco = CocoData(kind="coco", source=str(tmp_path / "nowhere"), crowd="paint", min_area=0)
    plain = tmp_path / "plain.txt"
    plain.write_text("x")
    for data, message in (
        (acdc, r"datasets\.x\.data\.source: .*registration.*humanheart-project"),
        (voc, r"SegmentationClassAug\.zip has no official source.*augmented: sbd"),
        (coco, "nowhere does not exist"),
        (coco.model_copy(update={"source": str(plain)}), "neither a folder nor an archive"),
    ):
        with pytest.raises(UserError, match=message):
            download("x", data, tmp_path / "raw" / "x.json")
    assert not (tmp_path / "raw" / "x.json").exists()
