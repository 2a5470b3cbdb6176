"""Broken datasets in VOC's layout, the generated shapes: images, masks, lists, annotations."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from spoilt import Case, accepted, again, cut, refused, remove, save, write

from unia.data.samples import write_label
from unia.recipe import ShapesData
from unia.steps.download import download

SHAPES = ShapesData(kind="shapes", size=48, train=4, val=3, seed=0)
IMAGES, MASKS, NOTES, LISTS = "JPEGImages", "SegmentationClassAug", "Annotations", "ImageSets/Segmentation"
T0, V0 = "train_000000", "val_000000"


def shapes() -> Path:
    download("bad", SHAPES, Path("raw.json"))
    return Path("raw/VOCdevkit/VOC2012")


def as_jpeg(root: Path, file: str) -> None:
    Image.new("L", (48, 48)).save(root / file, format="JPEG")


def huge(root: Path, file: str) -> None:
    """A PNG that says it is 100,000 x 100,000."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    parts = [struct.pack(">I", 13), header, struct.pack(">I", zlib.crc32(header)), b"\0\0\1\0IDAT"]
    (root / file).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def label(root: Path, file: str, value: int, size: tuple[int, int] = (48, 48)) -> None:
    write_label(root / file, np.full(size[::-1], value, np.uint8))


CASES: dict[str, Case] = {
    "image missing": (remove, (f"{IMAGES}/{T0}.jpg",), f"{T0}.jpg: is missing", True),
    "image cut short": (cut, (f"{IMAGES}/{T0}.jpg",), f"{T0}.jpg: cannot be read (", True),
    "image empty": (write, (f"{IMAGES}/{T0}.jpg", ""), f"{T0}.jpg: cannot be read (cannot identify", True),
    "image is text": (write, (f"{IMAGES}/{T0}.jpg", "<html>"), f"{T0}.jpg: cannot be read (cannot", True),
    "image too large": (huge, (f"{IMAGES}/{T0}.jpg",), f"{T0}.jpg: cannot be read (Image size (100", True),
    "mask missing": (remove, (f"{MASKS}/{V0}.png",), f"{V0}.png: no such file", True),
    "mask cut short": (cut, (f"{MASKS}/{T0}.png",), f"{T0}.png: no readable image (", True),
    "mask of other size": (label, (f"{MASKS}/{T0}.png", 1, (40, 48)), "is 40x48, its image 48x48", True),
    "image to be turned": (
        save,
        (f"{IMAGES}/{T0}.jpg", "RGB", (48, 40), True),
        "its image 48x40 before its EXIF orientation turns it; turn its pixels instead",
        True,
    ),
    "mask out of range": (label, (f"{MASKS}/{T0}.png", 9), "holds [9], classes end at 6", True),
    "mask RGB": (save, (f"{MASKS}/{T0}.png", "RGB"), "class ids (palette or grey), this is RGB", True),
    "mask RGBA": (save, (f"{MASKS}/{T0}.png", "RGBA"), "class ids (palette or grey), this is RGBA", True),
    "mask JPEG": (as_jpeg, (f"{MASKS}/{T0}.png",), f"{T0}.png: a JPEG does not keep class ids", True),
    "list empty": (write, (f"{LISTS}/val.txt", "\n"), "split val: has no usable image", False),
    "list missing": (remove, (f"{LISTS}/val.txt",), "holds no VOC2012/ImageSets/Segmentation/val.txt", False),
    "list of names without files": (again, (f"{LISTS}/val.txt", "ghost\n"), "ghost.jpg: is missing", True),
    "name twice": (again, (f"{LISTS}/val.txt", f"{V0}\n"), f"{V0} is listed more than once", True),
    "name with a folder": (
        again,
        (f"{LISTS}/val.txt", "../secret\n"),
        "'../secret' is no name for a file",
        True,
    ),
    "list not UTF-8": (
        write,
        (f"{LISTS}/val.txt", f"{V0}\n", "utf-16"),
        "val.txt: the list cannot be read ('utf-8' codec can't decode",
        False,
    ),
    "XML missing": (remove, (f"{NOTES}/{T0}.xml",), f"{T0}.xml: is missing; or set data.labels: masks", True),
    "XML cut short": (cut, (f"{NOTES}/{T0}.xml",), f"{T0}.xml: the annotation cannot be read (", True),
    "XML in another encoding": (
        write,
        (f"{NOTES}/{T0}.xml", "<a><object><name>étoile</name></object></a>", "latin-1"),
        f"{T0}.xml: the annotation cannot be read (not well-formed (invalid token)",
        True,
    ),
    "XML of an unknown class": (
        write,
        (f"{NOTES}/{T0}.xml", "<a><object><name>blob</name></object></a>"),
        f"{T0}.xml: names classes that are not the dataset's: blob",
        True,
    ),
    "XML without objects": (write, (f"{NOTES}/{T0}.xml", "<a/>"), f"{T0}.xml: names no object", True),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_is_good_before_it_is_broken() -> None:
    accepted(shapes, SHAPES)


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str) -> None:
    refused(shapes, SHAPES, name, CASES[name], V0 if name == "name twice" else "")
