"""The prepared form of every dataset: a folder with dataset.json and one <split>.csv per split.

Class ids are 1..C in the order of `classes`; 0 is background, 255 is ignored. Image and mask paths
are reachable from the working directory, as the user typed their root.
"""

import csv
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unia.errors import UserError
from unia.files import read_json, write_json
from unia.system import of_system

IGNORE = 255
NAME = 200  # bytes of a sample's name; a file system takes 255, with all that is written around it
FORMATS = (  # of the images in a folder; Pillow opens others, to say what they are, which it cannot decode
    *("AVIF", "BMP", "DIB", "FITS", "GIF", "JPEG", "JPEG2000", "MPO"),
    *("PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
)
COLUMNS = ("name", "image", "mask", "labels", "volume", "image_sha256", "mask_sha256")


@dataclass(frozen=True)
class Sample:
    """One image; `mask` None where there is none, `labels` None where nobody gave them (test)."""

    name: str
    image: Path
    mask: Path | None
    labels: tuple[int, ...] | None
    volume: str | None = None


@dataclass(frozen=True)
class Split:
    """The samples of one split, with what its dataset's classes are called."""

    dataset: str
    name: str
    classes: tuple[str, ...]
    unions: Mapping[str, tuple[int, ...]]
    samples: tuple[Sample, ...]
    protocol: str = ""
    tile: int | None = None

    @property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """The ids of each foreground class and union, by its name."""
        return {name: (k,) for k, name in enumerate(self.classes, 1)} | dict(self.unions)

    @property
    def by_volume(self) -> dict[str, list[Sample]]:
        """The slices of each volume, in order; samples that belong to none are left out."""
        slices: dict[str, list[Sample]] = {}
        for sample in self.samples:
            if sample.volume is not None:
                slices.setdefault(sample.volume, []).append(sample)
        return slices


@dataclass(frozen=True)
class Problem:
    """Why the sample `name` of `split` cannot be used; without a name, why the dataset cannot."""

    file: Path | str
    reason: str
    split: str = ""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.file or f'split {self.split}'}: {self.reason}"


@dataclass(frozen=True)
class Dataset:
    """What a dataset's reader hands to `prepare`; `problems`: what it could not read.

    With `labels_from` masks, a sample's labels become the classes in its mask; those that the reader
    gives, if any, are only compared with them.
    `protocol` says in a table what the labels are, where that is a choice. `tile`: the images of train are
    tiles of that side, in pixels, of images like those of the other splits; None: they are whole images.
    """

    classes: tuple[str, ...]
    licence: str
    citation: str
    splits: Mapping[str, Sequence[Sample]]
    unions: Mapping[str, tuple[int, ...]]
    problems: Sequence[Problem] = ()
    labels_from: Literal["annotations", "masks"] = "annotations"
    protocol: str = ""
    tile: int | None = None
    remarks: Sequence[str] = ()
    """What the reader has left out, a line each."""


def load_split(folder: Path, split: str) -> Split:
    """Read one split of a prepared dataset.

    Raises UserError, naming the splits that exist, where `split` is none of them.
    """
    about = read_json(folder / "dataset.json")
    if split not in about["splits"]:
        raise UserError(f"{folder}: has no split {split!r}; there are: {', '.join(about['splits'])}")
    table = folder / f"{split}.csv"
    try:
        with table.open(encoding="utf-8", newline="") as file:
            samples = tuple(_sample(row) for row in csv.DictReader(file))
    except (OSError, KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        if of_system(error):
            raise
        raise UserError(f"{table}: cannot be read ({error}); run the prepare step again") from None
    unions = {name: tuple(ids) for name, ids in about["unions"].items()}
    classes = tuple(about["classes"])
    return Split(about["name"], split, classes, unions, samples, about["protocol"], about["tile"])


def write_dataset(
    folder: Path, name: str, kind: str, dataset: Dataset, checksums: Mapping[Path, str]
) -> None:
    """Write dataset.json and the splits' tables into `folder`; `checksums`: sha256 of every file."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "name": name,
        "kind": kind,
        "classes": list(dataset.classes),
        "unions": {union: list(ids) for union, ids in dataset.unions.items()},
        "protocol": dataset.protocol,
        "tile": dataset.tile,
        "licence": dataset.licence,
        "citation": dataset.citation,
        "splits": {split: _summary(dataset, samples) for split, samples in dataset.splits.items()},
    }
    write_json(folder / "dataset.json", about)
    for split, samples in dataset.splits.items():
        labelled = any(sample.labels is not None for sample in samples)
        columns = [column for column in COLUMNS if labelled or column != "labels"]
        with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            table.writeheader()
            table.writerows(_row(sample, checksums) for sample in samples)


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """A name of its own for each path: its parts, without the ending, numbered where others share them.

    Names that differ in case alone are told apart too, for disks that do not. Long ones are cut, so that all
    that is made of them can be the name of a file.
    """
    named: dict[str, str] = {}
    for path in paths:
        whole = os.fsencode("_".join(path.with_suffix("").parts))
        stem = name = os.fsdecode(whole) if len(whole) <= NAME else whole[:NAME].decode(errors="ignore")
        number = 2
        while name.casefold() in named:
            name, number = f"{stem}_{number}", number + 1
        named[name.casefold()] = name
    return list(named.values())


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image of any mode as H x W x 3 RGB, pixels in the file's own order.

    EXIF orientation is not applied: masks refer to the pixels as stored (a TIFF's is, when it is read).
    Raises UserError for what is no image, is cut short, or is too large to be one (PIL's limit).
    """
    return np.asarray(open_image(path).convert("RGB"))


def read_mask(path: Path) -> NDArray[np.uint8]:
    """The class ids of a palette or grey PNG, H x W; UserError for any other kind of file."""
    image = open_image(path)
    if image.mode not in ("P", "L"):
        raise UserError(f"{path}: a mask must hold class ids (palette or grey), this is {image.mode}")
    if image.format == "JPEG":
        raise UserError(f"{path}: a JPEG does not keep class ids; save the mask as PNG, from its source")
    return np.asarray(image)


def write_label(path: Path, label: NDArray[np.uint8], colours: bool = True) -> None:
    """Write class ids (H x W) as a PNG: with VOC's colour map, or plain grey. Same label, same bytes."""
    image = Image.fromarray(label)
    if colours:
        image.putpalette(voc_palette())
    image.save(path, format="PNG", optimize=False, compress_level=6)


def image_endings() -> set[str]:
    """What the names of images end with, in small letters."""
    return {ending for ending, form in Image.registered_extensions().items() if form in FORMATS}


def voc_palette() -> bytes:
    """VOC's colour map, 256 x RGB: bit b of channel c is bit 3(7-b)+c of the class id (VOC devkit)."""
    bits = (np.arange(256)[:, None, None] >> (3 * np.arange(8) + np.arange(3)[:, None])) & 1
    colours: NDArray[np.uint8] = (bits << (7 - np.arange(8))).sum(axis=2).astype(np.uint8)
    return colours.tobytes()


def open_image(path: Path) -> Image.Image:
    """An image, read to its end; UserError as `read_image`."""
    try:
        image = Image.open(path)
        if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise UserError(f"{path}: {image.width} x {image.height} pixels are too many for an image")
        image.filename = (
            ""  # else a TIFF of grey values is mapped into memory, and garbled where it is turned
        )
        image.load()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the download step again") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if of_system(error):
            raise
        raise UserError(f"{path}: no readable image ({error}); replace the file") from None
    return image


def _sample(row: Mapping[str, str]) -> Sample:
    labels = tuple(map(int, row["labels"].split())) if "labels" in row else None
    mask = Path(row["mask"]) if row["mask"] else None
    return Sample(row["name"], Path(row["image"]), mask, labels, row["volume"] or None)


def _row(sample: Sample, checksums: Mapping[Path, str]) -> dict[str, str]:
    return {
        "name": sample.name,
        "image": sample.image.as_posix(),
        "mask": sample.mask.as_posix() if sample.mask else "",
        "labels": " ".join(map(str, sample.labels or ())),
        "volume": sample.volume or "",
        "image_sha256": checksums[sample.image],
        "mask_sha256": checksums[sample.mask] if sample.mask else "",
    }


def _summary(dataset: Dataset, samples: Sequence[Sample]) -> dict[str, Any]:
    """How many images a split has, and how many hold each class (where labels are known)."""
    counts = Counter(label for sample in samples for label in sample.labels or ())
    known = any(sample.labels is not None for sample in samples)
    per_class = {name: counts[k] for k, name in enumerate(dataset.classes, 1)} if known else {}
    return {"images": len(samples), "per_class": per_class}
