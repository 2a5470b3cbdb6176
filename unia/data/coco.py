"""COCO, and own data in its format: masks painted from instance annotations."""

import signal
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from unia.data import layout, official
from unia.data.origins import fetched, given
from unia.data.paint import Object, paint
from unia.data.samples import Dataset, Problem, Sample, distinct_names, write_label
from unia.errors import UserError
from unia.files import read_json
from unia.parallel import FOR_WANT_OF_MEMORY, cores
from unia.progress import track
from unia.recipe import CocoData

CATEGORIES = {
    1: "person",
    2: "bicycle",
    3: "car",
    4: "motorcycle",
    5: "airplane",
    6: "bus",
    7: "train",
    8: "truck",
    9: "boat",
    10: "traffic light",
    11: "fire hydrant",
    13: "stop sign",
    14: "parking meter",
    15: "bench",
    16: "bird",
    17: "cat",
    18: "dog",
    19: "horse",
    20: "sheep",
    21: "cow",
    22: "elephant",
    23: "bear",
    24: "zebra",
    25: "giraffe",
    27: "backpack",
    28: "umbrella",
    31: "handbag",
    32: "tie",
    33: "suitcase",
    34: "frisbee",
    35: "skis",
    36: "snowboard",
    37: "sports ball",
    38: "kite",
    39: "baseball bat",
    40: "baseball glove",
    41: "skateboard",
    42: "surfboard",
    43: "tennis racket",
    44: "bottle",
    46: "wine glass",
    47: "cup",
    48: "fork",
    49: "knife",
    50: "spoon",
    51: "bowl",
    52: "banana",
    53: "apple",
    54: "sandwich",
    55: "orange",
    56: "broccoli",
    57: "carrot",
    58: "hot dog",
    59: "pizza",
    60: "donut",
    61: "cake",
    62: "chair",
    63: "couch",
    64: "potted plant",
    65: "bed",
    67: "dining table",
    70: "toilet",
    72: "tv",
    73: "laptop",
    74: "mouse",
    75: "remote",
    76: "keyboard",
    77: "cell phone",
    78: "microwave",
    79: "oven",
    80: "toaster",
    81: "sink",
    82: "refrigerator",
    84: "book",
    85: "clock",
    86: "vase",
    87: "scissors",
    88: "teddy bear",
    89: "hair drier",
    90: "toothbrush",
}
"""COCO's category ids, with gaps, and what they are called; in this order they are the classes 1..80."""

CLASS = {category: number for number, category in enumerate(CATEGORIES, 1)}
YEARS = ("2014", "2017", "")  # the first that is there; never mixed: train2017 holds most of val2014
CHUNK = 16  # images that a process is given at once
MAX_SIDE = 1 << 15  # pixels; no image of COCO is near it
LICENCE = "annotations: CC BY 4.0; images: Flickr terms of use"
CITATION = "Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014"


@dataclass(frozen=True)
class _Picture:
    """An image as the annotations describe it; `objects` in annotation order, `name` its own in a split."""

    file: str
    height: int
    width: int
    objects: Sequence[Object]
    name: str


def origins(key: str, config: CocoData, source: Path | None, folder: Path) -> list[Path]:
    """The user's archives or folders, or the official archives, fetched into `folder`."""
    return given(source) if source is not None else fetched(official.COCO, folder, config.mirrors)


def read(config: CocoData, roots: Sequence[Path], masks: Path, final: Path) -> Dataset:
    """The splits train and val of the COCO below `roots`; images without any object are left out.

    Masks are written to `masks`/masks/<split> and recorded below `final`. An image's labels are the
    classes of its objects, which later objects may have painted over in the mask. Classes are COCO's 80, or
    `config.classes`, which the file's categories are called. Raises UserError where the annotations as a
    whole are missing or of another kind.
    """
    tables = _tables(roots)
    splits: dict[str, list[Sample]] = {}
    problems: list[Problem] = []
    remarks: list[str] = []
    for split, table in tables.items():
        images = _images(roots, table)
        pictures, bare, wrong = _pictures(table, split, config.classes)
        listed = len(pictures) + bare
        folder = Path("masks") / split
        painted = _paint_all(config, pictures, masks / folder, f"paint {split}")
        splits[split] = []
        for picture, (labels, reason) in zip(pictures, painted, strict=True):
            image = _image(images, picture.file)
            if reason:
                problems.append(Problem(image, reason, split, picture.name))
            elif labels:
                mask = final / folder / f"{picture.name}.png"
                splits[split].append(Sample(picture.name, image, mask, labels))
            else:
                bare += 1
        problems += wrong
        if bare:
            remarks.append(f"{split}: {bare} of {listed} images show no object that counts: left out")
    classes, licence, citation = tuple(CATEGORIES.values()), LICENCE, CITATION
    if config.classes is not None:
        classes, licence, citation = config.classes, config.licence, config.citation
    return Dataset(classes, licence, citation, splits, {}, problems, remarks=remarks)


def _paint_all(
    config: CocoData, pictures: Sequence[_Picture], folder: Path, description: str
) -> list[tuple[tuple[int, ...], str]]:
    """Write the masks to `folder`, in as many processes as there are cores; as `_write`, for each."""
    folder.mkdir(parents=True, exist_ok=True)
    pool = ProcessPoolExecutor(
        min(cores(), 1 + len(pictures) // CHUNK),
        get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),  # Ctrl-C is the parent's to handle
    )
    try:
        found = pool.map(partial(_write, config, folder), pictures, chunksize=CHUNK)
        return list(track(found, description, len(pictures)))
    except BrokenProcessPool:
        raise UserError(f"{description}: a process died, {FOR_WANT_OF_MEMORY}") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _write(config: CocoData, folder: Path, picture: _Picture) -> tuple[tuple[int, ...], str]:
    """Paint and write a picture's mask, unless it has no object: (its labels, what is wrong with it)."""
    try:
        mask, labels = paint(config, picture.height, picture.width, picture.objects)
    except ValueError as error:
        return (), f"its annotations cannot be painted ({error})"
    if labels:
        write_label(folder / f"{picture.name}.png", mask)
    return labels, ""


def _pictures(
    path: Path, split: str, classes: Sequence[str] | None = None
) -> tuple[list[_Picture], int, list[Problem]]:
    """(the annotated images of an annotation file, by name; how many others it lists; what is wrong)."""
    content = read_json(path)
    objects: dict[int, list[Object]] = defaultdict(list)
    strange: dict[str, int] = {}  # image -> category
    try:
        called = {category["id"]: str(category["name"]) for category in content["categories"]}
        numbers = _numbers(path, called, classes)
        files = {image["id"]: _below(image["file_name"]) for image in content["images"]}
        names = _names(files)
        for annotation in content["annotations"]:
            category, image = annotation["category_id"], annotation["image_id"]
            crowd = bool(annotation.get("iscrowd"))
            if category in numbers:
                objects[image].append(Object(numbers[category], annotation["segmentation"], crowd))
            else:
                strange[names.get(image, str(image))] = category
        pictures = [
            _Picture(files[k].as_posix(), image["height"], image["width"], objects[k], names[k])
            for image in content["images"]
            if (k := image["id"]) in objects
        ]
        sizes = [(picture.height, picture.width) for picture in pictures]
        if any(type(side) is not int or not 0 < side < MAX_SIDE for size in sizes for side in size):
            raise TypeError(f"height and width must be pixels, 1 to {MAX_SIDE - 1}")
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: holds no COCO instance annotations ({error!r})") from None
    wrong = [
        Problem(path, f"{name}: category {_told(category, called, classes)}", split, name)
        for name, category in strange.items()
    ]
    wrong += [
        Problem(path, f"image {image} has annotations, but is not among the images", split, str(image))
        for image in objects.keys() - names.keys()
    ]
    return sorted(pictures, key=lambda picture: picture.file), len(files) - len(pictures), wrong


def _names(files: Mapping[int, Path]) -> Mapping[int, str]:
    """Image id -> a name of its file's own: its stem, after the folders that it lies in."""
    distinct = sorted(set(files.values()))
    named = dict(zip(distinct, distinct_names(distinct), strict=True))
    return {k: named[file] for k, file in files.items()}


def _below(written: str) -> Path:
    """The path of an image below its folder; its name alone where it would lead out."""
    path = Path(written)
    return Path(path.name) if path.is_absolute() or ".." in path.parts else path


def _numbers(path: Path, called: Mapping[int, str], classes: Sequence[str] | None) -> Mapping[int, int]:
    """Category id -> class id, of the categories that the file lists as `called` (id -> name).

    UserError where they are not COCO's, though no classes of its own are given.
    """
    if classes is not None:
        return {k: classes.index(name) + 1 for k, name in called.items() if name in classes}
    for k, name in called.items():
        if CATEGORIES.get(k) != name:
            raise UserError(
                f"{path}: category {k} is {name!r}, none of COCO's; for annotations in COCO's format with "
                "categories of their own, name these in the dataset's data.classes"
            )
    return {k: CLASS[k] for k in called if k in CLASS}


def _told(category: int, called: Mapping[int, str], classes: Sequence[str] | None) -> str:
    """What is wrong with a category of an annotation."""
    if category not in called:
        return f"{category} is none of the file's categories"
    return f"{category} is {called[category]!r}, none of data.classes: {', '.join(classes or ())}"


def _tables(roots: Sequence[Path]) -> dict[str, Path]:
    """train and val -> their annotation files; UserError where no year has both."""
    folders = list(layout.folders(roots, "annotations"))
    for year in YEARS:
        names = {split: f"instances_{split}{year}.json" for split in ("train", "val")}
        found = {
            split: next((folder / name for folder in folders if (folder / name).is_file()), None)
            for split, name in names.items()
        }
        tables = {split: table for split, table in found.items() if table is not None}
        if len(tables) == len(names):
            return tables
    first = "annotations/instances_train2014.json and instances_val2014.json"
    raise layout.missing(roots, f"{first}, nor both of 2017, nor instances_train.json and instances_val.json")


def _images(roots: Sequence[Path], table: Path) -> Path:
    """The folder of a split's images: called as the split is, or `images`."""
    directory = table.stem.removeprefix("instances_")
    for name in (directory, "images"):
        for folder in layout.folders(roots, name):
            return folder
    raise layout.missing(roots, f"folder {directory} of images")


def _image(images: Path, file: str) -> Path:
    """An image, whose path may name folders that are not there: the split's own, for instance."""
    path = images / file
    return path if "/" not in file or path.exists() else images / path.name
