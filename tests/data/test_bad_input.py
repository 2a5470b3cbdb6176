"""What is wrong with a dataset is told by `unia prepare`, in one line that names file and reason.

`CASES`: a way to break a good dataset, the message it must give, and whether those samples may be left out.
"""

import csv
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from unia.data.samples import load_split, write_label
from unia.errors import UserError
from unia.recipe import CocoData, Data, ImagesData, ShapesData, VocData
from unia.steps.download import download
from unia.steps.prepare import prepare

SHAPES = ShapesData(kind="shapes", size=48, train=4, val=3, seed=0)
SBD = VocData(kind="voc", source="bad", augmented="sbd", labels="annotations")
COCO = CocoData(kind="coco", source="bad", crowd="paint", min_area=0)
OWN = ImagesData(kind="images", source="bad", classes=("rose", "tulip"))
LABELS = """image,split,labels,mask
0.png,train,rose,
1.png,train,tulip,
2.png,train,rose;tulip,
3.png,val,rose,3m.png
"""

IMAGES, MASKS, NOTES, LISTS = "JPEGImages", "SegmentationClassAug", "Annotations", "ImageSets/Segmentation"


def shapes() -> Path:
    download("bad", SHAPES, Path("raw.json"))
    return Path("raw/VOCdevkit/VOC2012")


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
        table.write_text(json.dumps({"images": images, "annotations": annotations}))
    return Path("bad")


def own() -> Path:
    Path("bad").mkdir()
    for number in range(4):
        Image.new("RGB", (8, 6)).save(f"bad/{number}.png")
    write_label(Path("bad/3m.png"), np.ones((6, 8), np.uint8))
    Path("bad/labels.csv").write_text(LABELS)
    return Path("bad")


GOOD: dict[str, tuple[Callable[[], Path], Data]] = {
    "shapes": (shapes, SHAPES),
    "sbd": (sbd, SBD),
    "coco": (coco, COCO),
    "own": (own, OWN),
}


def remove(root: Path, file: str) -> None:
    (root / file).unlink()


def cut(root: Path, file: str) -> None:
    whole = (root / file).read_bytes()
    (root / file).write_bytes(whole[: len(whole) // 2])


def write(root: Path, file: str, content: str, encoding: str = "utf-8") -> None:
    (root / file).write_text(content, encoding=encoding)


def again(root: Path, file: str, line: str) -> None:
    with (root / file).open("a") as stream:
        stream.write(line)


def save(root: Path, file: str, mode: str, size: tuple[int, int] = (48, 48), turn: bool = False) -> None:
    exif = Image.Exif()
    if turn:
        exif[0x0112] = 6
    Image.new(mode, size).save(root / file, format="JPEG" if file.endswith("jpg") else "PNG", exif=exif)


def as_jpeg(root: Path, file: str) -> None:
    Image.new("L", (48, 48)).save(root / file, format="JPEG")


def huge(root: Path, file: str) -> None:
    """A PNG that says it is 100,000 x 100,000."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    parts = [struct.pack(">I", 13), header, struct.pack(">I", zlib.crc32(header)), b"\0\0\1\0IDAT"]
    (root / file).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def label(root: Path, file: str, value: int, size: tuple[int, int] = (48, 48)) -> None:
    write_label(root / file, np.full(size[::-1], value, np.uint8))


def matlab(root: Path, file: str, values: np.ndarray) -> None:
    savemat(root.parent.parent / file, {"GTcls": {"Segmentation": values}})


def annotate(root: Path, file: str, part: str, **changes: object) -> None:
    content = json.loads((root / file).read_text())
    content[part][0] |= changes
    (root / file).write_text(json.dumps(content))


T0, V0 = "train_000000", "val_000000"
TRAIN2017 = "annotations/instances_train2017.json"
Case = tuple[str, Callable[..., None], tuple[object, ...], str, bool]

CASES: dict[str, Case] = {
    # images
    "image missing": ("shapes", remove, (f"{IMAGES}/{T0}.jpg",), f"{T0}.jpg: is missing", True),
    "image cut short": ("shapes", cut, (f"{IMAGES}/{T0}.jpg",), f"{T0}.jpg: cannot be read (", True),
    "image empty": (
        "shapes",
        write,
        (f"{IMAGES}/{T0}.jpg", ""),
        f"{T0}.jpg: cannot be read (cannot identify",
        True,
    ),
    "image is text": (
        "shapes",
        write,
        (f"{IMAGES}/{T0}.jpg", "<html>"),
        f"{T0}.jpg: cannot be read (cannot",
        True,
    ),
    "image too large": (
        "shapes",
        huge,
        (f"{IMAGES}/{T0}.jpg",),
        f"{T0}.jpg: cannot be read (Image size (100",
        True,
    ),
    "image of 16 bits": (
        "own",
        save,
        ("0.png", "I;16"),
        "0.png: has pixels of more than 8 bits (I;16)",
        True,
    ),
    # masks
    "mask missing": ("shapes", remove, (f"{MASKS}/{V0}.png",), f"{V0}.png: no such file", True),
    "mask cut short": ("shapes", cut, (f"{MASKS}/{T0}.png",), f"{T0}.png: no readable image (", True),
    "mask of other size": (
        "shapes",
        label,
        (f"{MASKS}/{T0}.png", 1, (40, 48)),
        "is 40x48, its image 48x48",
        True,
    ),
    "image to be turned": (
        "shapes",
        save,
        (f"{IMAGES}/{T0}.jpg", "RGB", (48, 40), True),
        "its image 48x40 before its EXIF orientation turns it; turn its pixels instead",
        True,
    ),
    "mask out of range": ("shapes", label, (f"{MASKS}/{T0}.png", 9), "holds [9], classes end at 6", True),
    "mask RGB": (
        "shapes",
        save,
        (f"{MASKS}/{T0}.png", "RGB"),
        "class ids (palette or grey), this is RGB",
        True,
    ),
    "mask RGBA": (
        "shapes",
        save,
        (f"{MASKS}/{T0}.png", "RGBA"),
        "class ids (palette or grey), this is RGBA",
        True,
    ),
    "mask JPEG": (
        "shapes",
        as_jpeg,
        (f"{MASKS}/{T0}.png",),
        f"{T0}.png: a JPEG does not keep class ids",
        True,
    ),
    # lists
    "list empty": ("shapes", write, (f"{LISTS}/val.txt", "\n"), "split val: has no usable image", False),
    "list missing": (
        "shapes",
        remove,
        (f"{LISTS}/val.txt",),
        "holds no VOC2012/ImageSets/Segmentation/val.txt",
        False,
    ),
    "list of names without files": (
        "shapes",
        again,
        (f"{LISTS}/val.txt", "ghost\n"),
        "ghost.jpg: is missing",
        True,
    ),
    "name twice": ("shapes", again, (f"{LISTS}/val.txt", f"{V0}\n"), f"{V0} is listed more than once", True),
    "name with a folder": (
        "shapes",
        again,
        (f"{LISTS}/val.txt", "../secret\n"),
        "'../secret' is no name for a file",
        True,
    ),
    "list not UTF-8": (
        "shapes",
        write,
        (f"{LISTS}/val.txt", f"{V0}\n", "utf-16"),
        "val.txt: the list cannot be read ('utf-8' codec can't decode",
        False,
    ),
    # annotations
    "XML missing": (
        "shapes",
        remove,
        (f"{NOTES}/{T0}.xml",),
        f"{T0}.xml: is missing; or set data.labels: masks",
        True,
    ),
    "XML cut short": (
        "shapes",
        cut,
        (f"{NOTES}/{T0}.xml",),
        f"{T0}.xml: the annotation cannot be read (",
        True,
    ),
    "XML in another encoding": (
        "shapes",
        write,
        (f"{NOTES}/{T0}.xml", "<a><object><name>étoile</name></object></a>", "latin-1"),
        f"{T0}.xml: the annotation cannot be read (not well-formed (invalid token)",
        True,
    ),
    "XML of an unknown class": (
        "shapes",
        write,
        (f"{NOTES}/{T0}.xml", "<a><object><name>blob</name></object></a>"),
        f"{T0}.xml: names classes that are not the dataset's: blob",
        True,
    ),
    "XML without objects": (
        "shapes",
        write,
        (f"{NOTES}/{T0}.xml", "<a/>"),
        f"{T0}.xml: names no object",
        True,
    ),
    # SBD
    "mat unreadable": (
        "sbd",
        cut,
        ("../../dataset/cls/a.mat",),
        "a.mat: holds no segmentation of SBD (",
        True,
    ),
    "mat out of range": (
        "sbd",
        matlab,
        ("dataset/cls/a.mat", np.full((6, 8), 99)),
        "a.mat: GTcls.Segmentation must be H x W class ids of VOC",
        True,
    ),
    # COCO
    "JSON cut short": ("coco", cut, (TRAIN2017,), "instances_train2017.json: not valid JSON (", False),
    "JSON of captions": (
        "coco",
        write,
        (TRAIN2017, '{"images": [], "annotations": [{"caption": "a cat"}]}'),
        "instances_train2017.json: holds no COCO instance annotations (KeyError('category_id'))",
        False,
    ),
    "category unknown": (
        "coco",
        lambda root: annotate(root, TRAIN2017, "annotations", category_id=12),
        (),
        "instances_train2017.json: train0: category 12 is none of COCO's 80",
        True,
    ),
    "no segmentation": (
        "coco",
        lambda root: annotate(root, TRAIN2017, "annotations", segmentation={"counts": "x"}),
        (),
        "train0.jpg: its annotations cannot be painted (no segmentation: KeyError('size'))",
        True,
    ),
    "annotation of no image": (
        "coco",
        lambda root: annotate(root, TRAIN2017, "annotations", image_id=99),
        (),
        "instances_train2017.json: image 99 has annotations, but is not among the images",
        True,
    ),
    "image not as annotated": (
        "coco",
        lambda root: annotate(root, TRAIN2017, "images", width=9),
        (),
        "train0.png: is 9x6, its image 8x6",
        True,
    ),
    # own data
    "CSV not UTF-8": (
        "own",
        write,
        ("labels.csv", LABELS.replace("rose", "rosé"), "latin-1"),
        "labels.csv: cannot be read ('utf-8' codec can't decode",
        False,
    ),
    "CSV without a column": (
        "own",
        write,
        ("labels.csv", "image,split\n"),
        "labels.csv: lacks the column labels",
        False,
    ),
    "label unknown": (
        "own",
        again,
        ("labels.csv", "4.png,val,lily,\n"),
        "labels.csv:6: 'lily' is none of",
        True,
    ),
    "image in two splits": (
        "own",
        again,
        ("labels.csv", "0.png,val,rose,\n"),
        "0.png: is in the splits train and val",
        True,
    ),
    "labels contradict": (
        "own",
        again,
        ("labels.csv", "0.png,train,tulip,\n"),
        "0 is listed more than once, with different labels or files",
        True,
    ),
    "no label anywhere": (
        "own",
        write,
        ("labels.csv", "image,split,labels,mask\n0.png,train,,\n3.png,val,rose,\n"),
        "split train: no image has a label, so there is nothing to learn",
        False,
    ),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", GOOD)
def test_the_datasets_are_good_before_they_are_broken(kind: str) -> None:
    make, data = GOOD[kind]
    make()
    download("bad", data, Path("raw.json"))
    prepare("bad", data, Path("raw.json"), Path("out"))
    assert not Path("out/problems.csv").exists()


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str) -> None:
    kind, spoil, arguments, expected, can_be_left_out = CASES[name]
    make, data = GOOD[kind]
    root = make()
    download("bad", data, Path("raw.json"))
    spoil(root, *arguments)
    with pytest.raises(UserError) as caught:
        prepare("bad", data, Path("raw.json"), Path("out"))
    message = str(caught.value)
    print(f"| {name} | {message} |")
    assert expected in message
    assert "\n" not in message
    assert ".partial" not in message
    assert not Path("out").exists()

    lenient = data.model_copy(update={"problems": "leave_out"})
    if can_be_left_out:
        prepare("bad", lenient, Path("raw.json"), Path("out"))
        with Path("out/problems.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert any(expected in f"{row['file']}: {row['reason']}" for row in rows)
        kept = {(s, sample.name) for s in ("train", "val") for sample in load_split(Path("out"), s).samples}
        spoilt = {(row["split"], row["name"]) for row in rows}
        assert kept & spoilt == ({("val", V0)} if name == "name twice" else set())  # alike: one stays
        assert {split for split, _ in kept} == {"train", "val"}
    else:
        with pytest.raises(UserError):
            prepare("bad", lenient, Path("raw.json"), Path("out"))
        assert not Path("out").exists()
