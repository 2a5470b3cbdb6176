"""The prepared form of every dataset: a folder with dataset.json and one <split>.csv per split.

Class ids are 1..C in the order of `classes`; 0 is background, 255 is ignored. Image and mask paths
are reachable from the working directory, as the user typed their root.
"""

import csv
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

from unia.columns import check_columns
from unia.errors import UserError
from unia.files import read_json, write_json
from unia.system import of_system

NAME = 200  # bytes of a sample's name; a file system takes 255, with all that is written around it
FORMATS = (  # of the images in a folder; Pillow opens others, to say what they are, which it cannot decode
    *("AVIF", "BMP", "DIB", "FITS", "GIF", "JPEG", "JPEG2000", "MPO"),
    *("PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
)
DEEP = ("I", "F")  # modes of more than 8 bits a channel begin so; as RGB they would be cut off at 255
TOO_DEEP = "has pixels of more than 8 bits ({}); scale them to 0..255"
# Raw modes of grey values that Pillow multiplies, by what; and of those that it changes otherwise: of a TIFF
# whose 0 is white, of a PGM whose white is not 255.
STRETCHED = {"L;2": 85, "L;2R": 85, "L;4": 17, "L;4R": 17}
CHANGED = re.compile(r"L;(\d?IR?|of (?!255$)\d+)")
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
            reader = csv.DictReader(file)
            check_columns(table, reader.fieldnames or ())
            samples = tuple(map(_sample, reader))
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
    that is made of them can be the name of a file; none starts with a dot, as files do that belong to tools.
    """
    named: dict[str, str] = {}
    for path in paths:
        whole = os.fsencode("_".join(path.with_suffix("").parts).lstrip(".") or "_")
        stem = name = os.fsdecode(whole) if len(whole) <= NAME else whole[:NAME].decode(errors="ignore")
        number = 2
        while name.casefold() in named:
            name, number = f"{stem}_{number}", number + 1
        named[name.casefold()] = name
    return list(named.values())


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image of any mode as H x W x 3 RGB, pixels in the file's own order.

    EXIF orientation is not applied: masks refer to the pixels as stored (a TIFF's is, when it is read).
    Raises UserError for what is no image, is cut short, is too large to be one (PIL's limit), or has colours
    of more than 8 bits.
    """
    return np.asarray(open_image(path).convert("RGB"))


def read_mask(path: Path) -> NDArray[np.uint8]:
    """The class ids of a palette or grey PNG of 1 to 8 bits, H x W; UserError for any other kind of file."""
    image, raw = _opened(path)
    if image.mode not in ("P", "L") and raw != "1":
        raise UserError(f"{path}: a mask must hold class ids (palette or grey), this is {image.mode}")
    if image.format == "JPEG":
        raise UserError(f"{path}: a JPEG does not keep class ids; save the mask as PNG, from its source")
    if CHANGED.fullmatch(raw):
        raise UserError(f"{path}: its grey values are not read as they are stored; save the mask as PNG")
    label: NDArray[np.uint8] = np.asarray(image, dtype=np.uint8)
    return label // np.uint8(STRETCHED[raw]) if raw in STRETCHED else label


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
    """An image, read to its end; UserError as `read_image`, and for colours of more than 8 bits."""
    return _opened(path)[0]


def deep_colour(image: ImageFile) -> bool:
    """Whether an image, opened and not yet read, has colours of 16 bits, of which Pillow keeps the upper 8.

    Of a camera's 12 bits these are next to nothing, so that the picture would be black.
    """
    bits = image.tag_v2.get(BITSPERSAMPLE, (8,)) if isinstance(image, TiffImageFile) else (8,)
    deep = max(bits) > 8 or _raw_mode(image).endswith((";16B", ";16L", ";16N"))
    return deep and not image.mode.startswith(DEEP)


def _raw_mode(image: ImageFile) -> str:
    """How the file of an image, opened and not yet read, stores pixels, in Pillow's terms.

    Of a PGM whose largest value is 3, which becomes 255: `L;of 3`.
    """
    codec, args = (image.tile[0].codec_name, image.tile[0].args) if image.tile else ("", None)
    if not isinstance(args, tuple):
        return args or ""
    return f"{args[0]};of {args[1]}" if codec in ("ppm", "ppm_plain") else str(args[0])


def _opened(path: Path) -> tuple[Image.Image, str]:
    """(an image, read to its end; its raw mode)."""
    try:
        image = Image.open(path)
        if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise UserError(f"{path}: {image.width} x {image.height} pixels are too many for an image")
        image.filename = (
            ""  # else a TIFF of grey values is mapped into memory, and garbled where it is turned
        )
        if deep_colour(image):
            raise UserError(f"{path}: {TOO_DEEP.format(image.mode)}")
        raw = _raw_mode(image)
        image.load()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the download step again") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if of_system(error):
            raise
        raise UserError(f"{path}: no readable image ({error}); replace the file") from None
    return image, raw


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
