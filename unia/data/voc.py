"""PASCAL VOC 2012, with augmented labels or without; and what else lies in its layout."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as XML

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from unia.data import layout, official
from unia.data.origins import fetched, given
from unia.data.samples import Dataset, Problem, Sample, write_label
from unia.errors import UserError
from unia.labels import IGNORE
from unia.parallel import for_each
from unia.progress import track
from unia.recipe import VocData
from unia.system import of_system

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
OTHER_YEAR = re.compile(r"VOC20(?!12)\d\d")
LICENCE = "images: Flickr terms of use; annotations: see the VOC2012 site"
CITATION = (
    "Everingham et al., The PASCAL Visual Object Classes Challenge: A Retrospective, IJCV 2015; augmented "
    "labels: Hariharan et al., Semantic Contours from Inverse Detectors, ICCV 2011"
)


def origins(key: str, config: VocData, source: Path | None, folder: Path) -> list[Path]:
    """The user's archives or folders, or the official archives, fetched into `folder`."""
    if source is not None:
        return given(source)
    if config.augmented == "zip":
        raise UserError(
            f"{key}: SegmentationClassAug.zip has no official source: put it and "
            f"{official.VOC_TRAINVAL.name} into a folder and name that here, or set data.augmented: sbd, "
            "which can be fetched"
        )
    archives = [official.VOC_TRAINVAL] + ([official.SBD] if config.augmented == "sbd" else [])
    return fetched(archives, folder, config.mirrors)


def read(config: VocData, roots: Sequence[Path], folder: Path, final: Path) -> Dataset:
    """The splits below `roots`: train (augmented), val, and test where its list and images are there.

    Training images are all that have an augmented mask and are not in val; with `augmented: none` VOC's
    own, of its list train.txt. Masks made from SBD are written to `folder`/masks and recorded below
    `final`. Raises UserError for what is missing.
    """
    voc = listing(roots, "val")
    masks, problems = _masks(config, roots, voc, folder, final)
    optional = config.labels == "masks"
    splits, wrong = read_layout(roots, voc, masks, CLASSES, optional)
    return Dataset(CLASSES, LICENCE, CITATION, splits, {}, problems + wrong, config.labels)


def read_layout(
    roots: Sequence[Path], voc: Path, masks: Mapping[str, Path], classes: Sequence[str], optional: bool
) -> tuple[dict[str, list[Sample]], list[Problem]]:
    """The splits of a dataset in VOC2012's layout below the folder `voc`, and what is wrong with them.

    `masks`: those that may be trained on, by name; `optional`: annotations need not be there.
    """
    val = _names(voc, "val")
    splits: dict[str, list[Sample]] = {}
    problems: list[Problem] = []
    for split, names in (("train", sorted(set(masks) - set(val))), ("val", val)):
        splits[split] = []
        for name in track(names, f"read {split}"):
            labels, wrong = _labels(voc, split, name, classes, optional)
            mask = masks.get(name, voc / "SegmentationClass" / f"{name}.png")
            splits[split].append(Sample(name, voc / "JPEGImages" / f"{name}.jpg", mask, labels))
            problems += wrong
    test = _listing(roots, "test")
    if test is not None:
        images = [(name, test / "JPEGImages" / f"{name}.jpg") for name in _names(test, "test")]
        if any(image.exists() for _, image in images):  # VOC's trainval archive may bring the list alone
            splits["test"] = [Sample(name, image, None, None) for name, image in images]
    return splits, problems


def listing(roots: Sequence[Path], split: str) -> Path:
    """The folder VOC2012 that lists `split`; UserError where there is none."""
    found = _listing(roots, split)
    if found is None:
        raise layout.missing(roots, f"VOC2012/ImageSets/Segmentation/{split}.txt")
    return found


def augmented_masks(roots: Sequence[Path]) -> dict[str, Path]:
    """Name -> mask, of the folder SegmentationClassAug."""
    masks = layout.folder(roots, "SegmentationClassAug", "SegmentationClassAug (or its .zip)")
    return {path.stem: path for path in sorted(masks.glob("*.png")) if not path.name.startswith(".")}


def _labels(
    voc: Path, split: str, name: str, classes: Sequence[str], optional: bool
) -> tuple[tuple[int, ...] | None, list[Problem]]:
    """(the image-level labels of an image's annotation, what is wrong with it)."""
    path = voc / "Annotations" / f"{name}.xml"
    try:
        return _annotated(path, classes), []
    except UserError as error:
        return None, [] if optional else [Problem(path, str(error), split, name)]


def _masks(
    config: VocData, roots: Sequence[Path], voc: Path, folder: Path, final: Path
) -> tuple[dict[str, Path], list[Problem]]:
    """(name -> mask of the images that may be trained on, what is wrong)."""
    if config.augmented == "none":
        own = voc / "SegmentationClass"
        return {name: own / f"{name}.png" for name in _names(voc, "train")}, []
    if config.augmented == "sbd":
        cls = layout.folder(roots, "dataset/cls", "dataset/cls of the Semantic Boundaries Dataset")
        return _from_sbd(cls, voc, folder, final)
    return augmented_masks(roots), []


def _from_sbd(cls: Path, voc: Path, folder: Path, final: Path) -> tuple[dict[str, Path], list[Problem]]:
    """SBD's masks as PNG; VOC's own where VOC has one."""
    masks = {path.stem: path for path in sorted((voc / "SegmentationClass").glob("*.png"))}
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    theirs = [Sample(path.stem, path, None, None) for path in sorted(cls.glob("*.mat"))]
    theirs = [sample for sample in theirs if sample.name not in masks]
    problems = []
    for name, problem in for_each(partial(_convert, folder / "masks"), theirs, "read SBD"):
        if problem is None:
            masks[name] = final / "masks" / f"{name}.png"
        else:
            problems.append(problem)
    return masks, problems


def _convert(folder: Path, sample: Sample) -> tuple[str, Problem | None]:
    """Write the mask of a .mat file of SBD to `folder`: (its name, what is wrong with it)."""
    try:
        label = _segmentation(sample.image)
    except UserError as error:
        return sample.name, Problem(sample.image, str(error), "train", sample.name)
    write_label(folder / f"{sample.name}.png", label)
    return sample.name, None


def _segmentation(path: Path) -> NDArray[np.uint8]:
    """GTcls.Segmentation of a .mat file of SBD: class ids, H x W."""
    try:
        label = loadmat(path, variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0]
    except Exception as error:  # scipy's readers of damaged files raise of every kind
        if of_system(error):
            raise
        raise UserError(f"holds no segmentation of SBD ({error})") from None
    if label.ndim != 2 or not np.isin(label, (*range(len(CLASSES) + 1), IGNORE)).all():
        raise UserError("GTcls.Segmentation must be H x W class ids of VOC")
    mask: NDArray[np.uint8] = label.astype(np.uint8)
    return mask


def _annotated(path: Path, classes: Sequence[str]) -> tuple[int, ...]:
    """Class ids of every object of an annotation, difficult ones too."""
    try:
        names = {item.findtext("name") for item in XML.parse(path).getroot().iter("object")}
    except FileNotFoundError:
        raise UserError("is missing; or set data.labels: masks") from None
    except (OSError, XML.ParseError, LookupError, ValueError) as error:  # the last two: odd encodings
        if of_system(error):
            raise
        raise UserError(f"the annotation cannot be read ({error}); or set data.labels: masks") from None
    unknown = names - set(classes)
    if unknown:
        listed = ", ".join(sorted(map(str, unknown)))
        raise UserError(f"names classes that are not the dataset's: {listed}")
    if not names:
        raise UserError("names no object, so the image has no label")
    return tuple(i for i, name in enumerate(classes, 1) if name in names)


def _listing(roots: Sequence[Path], split: str) -> Path | None:
    """The folder VOC2012 that lists `split`; VOC's test archive has one of its own.

    It may be called otherwise, but not after another year.
    """
    for lists in layout.folders(roots, "ImageSets/Segmentation"):
        place = lists.parent.parent
        if (lists / f"{split}.txt").exists() and not OTHER_YEAR.fullmatch(place.resolve().name):
            return place
    return None


def _names(voc: Path, split: str) -> list[str]:
    """The names of a list, one a line."""
    path = voc / "ImageSets" / "Segmentation" / f"{split}.txt"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # editors write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        if of_system(error):
            raise
        raise UserError(
            f"{path}: the list cannot be read ({error}); it must be UTF-8, a name a line"
        ) from None
    return [line.strip() for line in lines if line.strip()]
