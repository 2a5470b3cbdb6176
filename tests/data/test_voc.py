import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from unia.data import voc
from unia.data.checks import check
from unia.data.samples import Dataset, read_mask, write_label
from unia.errors import UserError
from unia.files import read_json
from unia.recipe import VocData
from unia.steps.download import download


def config(**changes: str) -> VocData:
    return VocData.model_validate(
        {"kind": "voc", "source": None, "augmented": "zip", "labels": "annotations"} | changes
    )


def annotation(*names: str) -> str:
    """As VOC writes it: people have named parts, some objects are difficult."""
    objects = "".join(
        f"<object><name>{name}</name><difficult>{number % 2}</difficult>"
        "<part><name>head</name></part></object>"
        for number, name in enumerate(names)
    )
    return f"<annotation><folder>VOC2012</folder>{objects}</annotation>"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four images of VOC with augmented masks (b and d in val) and its own masks for c and d."""
    root = tmp_path / "source"
    place = root / "VOCdevkit" / "VOC2012"
    for part in ("JPEGImages", "Annotations", "ImageSets/Segmentation", "SegmentationClass"):
        (place / part).mkdir(parents=True)
    (root / "SegmentationClassAug").mkdir()
    (place / "ImageSets/Segmentation/val.txt").write_text("d\nb\n")
    (place / "ImageSets/Segmentation/train.txt").write_text("c\n")
    for number, (name, objects) in enumerate(
        {"c": ("person", "dog"), "a": ("cat",), "b": ("boat", "boat"), "d": ("tvmonitor",)}.items(), 1
    ):
        Image.new("RGB", (6, 4)).save(place / "JPEGImages" / f"{name}.jpg")
        (place / "Annotations" / f"{name}.xml").write_text(annotation(*objects))
        label = np.full((4, 6), 255, np.uint8)
        label[:2] = number
        write_label(root / "SegmentationClassAug" / f"{name}.png", label)
        if name in "cd":
            write_label(place / "SegmentationClass" / f"{name}.png", label)
    return root


def read(root: Path, tmp_path: Path, **changes: str) -> Dataset:
    return voc.read(config(**changes), [root], tmp_path / "temporary", tmp_path / "final")


def table(dataset: Dataset) -> dict[str, list[tuple[str, Any]]]:
    return {split: [(s.name, s.labels) for s in samples] for split, samples in dataset.splits.items()}


def test_train_is_every_mask_outside_val_and_labels_are_all_objects(root: Path, tmp_path: Path) -> None:
    found = read(root, tmp_path)
    assert table(found) == {"train": [("a", (8,)), ("c", (12, 15))], "val": [("d", (20,)), ("b", (4,))]}
    sample = found.splits["train"][0]
    assert sample.image == root / "VOCdevkit/VOC2012/JPEGImages/a.jpg"
    assert sample.mask == root / "SegmentationClassAug/a.png"
    assert len(found.classes) == 20
    assert not found.problems


def test_without_augmented_labels_train_is_vocs_own_list(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "SegmentationClassAug")
    found = read(root, tmp_path, augmented="none")
    assert table(found) == {"train": [("c", (12, 15))], "val": [("d", (20,)), ("b", (4,))]}
    assert found.splits["train"][0].mask == root / "VOCdevkit/VOC2012/SegmentationClass/c.png"


def test_labels_can_come_from_the_masks(root: Path, tmp_path: Path) -> None:
    found = read(root, tmp_path, labels="masks")
    assert found.labels_from == "masks"
    checked = check(found, lambda path: path)
    assert {split: [(s.name, s.labels) for s in samples] for split, samples in checked.splits.items()} == {
        "train": [("a", (2,)), ("c", (1,))],
        "val": [("d", (4,)), ("b", (3,))],
    }


def test_masks_can_be_made_from_sbd(root: Path, tmp_path: Path) -> None:
    """SBD has a, b and c; VOC's own masks of c and d come first."""
    cls = root / "benchmark_RELEASE" / "dataset" / "cls"
    cls.mkdir(parents=True)
    for name in "abc":
        segmentation = np.full((4, 6), 7, np.uint8)
        savemat(cls / f"{name}.mat", {"GTcls": {"Segmentation": segmentation, "Boundaries": 0}})
    found = read(root, tmp_path, augmented="sbd")
    masks = {s.name: s.mask for split in found.splits.values() for s in split}
    assert [s.name for s in found.splits["train"]] == ["a", "c"]
    assert masks["c"] == root / "VOCdevkit/VOC2012/SegmentationClass/c.png"
    assert masks["a"] == tmp_path / "final/masks/a.png"
    assert (read_mask(tmp_path / "temporary/masks/a.png") == 7).all()
    assert not (tmp_path / "temporary/masks/c.png").exists()
    (cls / "e.mat").write_bytes(b"MATLAB 5.0 MAT-file, or not")
    savemat(cls / "f.mat", {"GTcls": {"Segmentation": np.full((4, 6), 256), "Boundaries": 0}})
    problems = read(root, tmp_path, augmented="sbd").problems
    assert sorted((p.split, p.name, p.reason[:27]) for p in problems) == [
        ("train", "e", "holds no segmentation of SB"),
        ("train", "f", "GTcls.Segmentation must be "),
    ]


def test_the_test_split_has_neither_masks_nor_labels(root: Path, tmp_path: Path) -> None:
    """Its archive may lie beside: another folder VOC2012, named before the one of trainval."""
    place = root / "A" / "VOCdevkit" / "VOC2012"
    (place / "ImageSets" / "Segmentation").mkdir(parents=True)
    (place / "ImageSets" / "Segmentation" / "test.txt").write_text("t1\nt2\n")
    assert set(read(root, tmp_path).splits) == {"train", "val"}  # the list alone
    (place / "JPEGImages").mkdir()
    for name in ("t1", "t2"):
        Image.new("RGB", (6, 4)).save(place / "JPEGImages" / f"{name}.jpg")
    test = read(root, tmp_path).splits["test"]
    assert [(s.name, s.image, s.mask, s.labels) for s in test] == [
        (name, place / "JPEGImages" / f"{name}.jpg", None, None) for name in ("t1", "t2")
    ]


def test_all_bad_annotations_are_told_at_once(root: Path, tmp_path: Path) -> None:
    notes = root / "VOCdevkit" / "VOC2012" / "Annotations"
    (notes / "a.xml").write_text(annotation("unicorn"))
    (notes / "b.xml").write_text("<annotation>")
    (notes / "c.xml").unlink()
    problems = sorted(map(str, read(root, tmp_path).problems))
    assert len(problems) == 3
    assert "a.xml: names classes that are not the dataset's: unicorn" in problems[0]
    assert "b.xml: the annotation cannot be read" in problems[1]
    assert "c.xml: is missing" in problems[2]
    assert not read(root, tmp_path, labels="masks").problems


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no dataset/cls of the Semantic Boundaries Dataset"):
        read(root, tmp_path, augmented="sbd")
    with pytest.raises(UserError, match=r"holds no VOC2012/ImageSets/Segmentation/val\.txt"):
        read(tmp_path / "nowhere", tmp_path)
    (root / "SegmentationClassAug").rename(root / "elsewhere")
    with pytest.raises(UserError, match="holds no SegmentationClassAug"):
        read(root, tmp_path)


def test_another_year_beside_is_passed_over(root: Path, tmp_path: Path) -> None:
    """VOC2007, whose lists have the same names, comes before VOC2012; so does a link to it."""
    expected = table(read(root, tmp_path))
    lists = root / "VOCdevkit" / "VOC2007" / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split in ("val", "test"):
        (lists / f"{split}.txt").write_text("000001\n")
    images = lists.parents[1] / "JPEGImages"
    images.mkdir()
    Image.new("RGB", (6, 4)).save(images / "000001.jpg")
    (root / "VOCdevkit" / "A").symlink_to("VOC2007")
    assert table(read(root, tmp_path)) == expected


def test_an_archive_beside_another_unpacked_year_is_read(root: Path, tmp_path: Path) -> None:
    """Both have VOCdevkit at their top."""
    expected = table(read(root, tmp_path))
    with tarfile.open(root / "trainval2012.tar", "w") as tar:
        tar.add(root / "VOCdevkit", "VOCdevkit")
    (root / "VOCdevkit" / "VOC2012").rename(tmp_path / "away")
    (root / "VOCdevkit" / "VOC2007").mkdir()
    data = config().model_copy(update={"source": str(root)})
    download("voc", data, tmp_path / "raw.json")
    roots = [Path(path) for path in read_json(tmp_path / "raw.json")["roots"]]
    assert roots == [root, tmp_path / "raw" / "unpacked"]
    assert table(voc.read(data, roots, tmp_path / "temporary", tmp_path / "final")) == expected
    (tmp_path / "away").rename(root / "VOCdevkit" / "VOC2012")  # unpacked by hand: not once more
    download("voc", data, tmp_path / "raw.json")
    assert read_json(tmp_path / "raw.json")["roots"] == [str(root)]
