"""COCO: masks painted from the instance annotations of 2014 or 2017."""

import signal
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from unia.data.paint import Object, paint
from unia.data.samples import Dataset, Problem, Sample, write_label
from unia.errors import UserError
from unia.files import read_json
from unia.progress import track
from unia.recipe import CocoData
from unia.steps.parallel import FOR_WANT_OF_MEMORY, cores

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
YEARS = (2014, 2017)  # the first that is there; never mixed: train2017 holds most of val2014
CHUNK = 16  # images that a process is given at once
MAX_SIDE = 1 << 15  # pixels; no image of COCO is near it
LICENCE = "annotations: CC BY 4.0; images: Flickr terms of use"
CITATION = "Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014"


@dataclass(frozen=True)
class _Picture:
    """An image as the annotations describe it; `objects` in annotation order."""

    file: str
    height: int
    width: int
    objects: Sequence[Object]

    @property
    def name(self) -> str:
        return Path(self.file).stem


def read(config: CocoData, root: Path, masks: Path, final: Path) -> Dataset:
    """The splits train and val of the COCO below `root`; images without any object are left out.

    Masks are written to `masks`/masks/<split> and recorded below `final`. An image's labels are the
    classes of its objects, which later objects may have painted over in the mask. Raises UserError
    where the annotations as a whole are missing or none of COCO's.
    """
    year = _year(root)
    splits: dict[str, list[Sample]] = {}
    problems: list[Problem] = []
    for split in ("train", "val"):
        images = _images(root, f"{split}{year}")
        pictures, wrong = _pictures(_annotations(root, f"{split}{year}"), split)
        folder = Path("masks") / split
        painted = _paint_all(config, pictures, masks / folder, f"paint {split}{year}")
        splits[split] = []
        for picture, (labels, reason) in zip(pictures, painted, strict=True):
            if reason:
                problems.append(Problem(images / picture.file, reason, split, picture.name))
            elif labels:
                mask = final / folder / f"{picture.name}.png"
                splits[split].append(Sample(picture.name, images / picture.file, mask, labels))
        problems += wrong
    return Dataset(tuple(CATEGORIES.values()), LICENCE, CITATION, splits, {}, problems)


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


def _pictures(path: Path, split: str) -> tuple[list[_Picture], list[Problem]]:
    """(the annotated images of an annotation file, by name; what is wrong with the file)."""
    content = read_json(path)
    objects: dict[int, list[Object]] = defaultdict(list)
    strange: dict[str, int] = {}  # image -> category
    try:
        names = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
        for annotation in content["annotations"]:
            category, image = annotation["category_id"], annotation["image_id"]
            crowd = bool(annotation.get("iscrowd"))
            if category in CLASS:
                objects[image].append(Object(CLASS[category], annotation["segmentation"], crowd))
            else:
                strange[names.get(image, str(image))] = category
        pictures = [
            _Picture(Path(image["file_name"]).name, image["height"], image["width"], objects[image["id"]])
            for image in content["images"]
            if image["id"] in objects
        ]
        sizes = [(picture.height, picture.width) for picture in pictures]
        if any(type(side) is not int or not 0 < side < MAX_SIDE for size in sizes for side in size):
            raise TypeError(f"height and width must be pixels, 1 to {MAX_SIDE - 1}")
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: holds no COCO instance annotations ({error!r})") from None
    wrong = [
        Problem(path, f"{name}: category {category} is none of COCO's 80", split, name)
        for name, category in strange.items()
    ]
    wrong += [
        Problem(path, f"image {image} has annotations, but is not among the images", split, str(image))
        for image in objects.keys() - names.keys()
    ]
    return sorted(pictures, key=lambda picture: picture.file), wrong


def _year(root: Path) -> int:
    """The year of which both splits are annotated."""
    for year in YEARS:
        if all(_annotations(root, f"{split}{year}").exists() for split in ("train", "val")):
            return year
    raise UserError(
        f"{root}: holds no annotations/instances_train2014.json and instances_val2014.json, "
        "nor both of 2017; see COCO's chapter in README.md"
    )


def _annotations(root: Path, directory: str) -> Path:
    return root / "annotations" / f"instances_{directory}.json"


def _images(root: Path, directory: str) -> Path:
    """The folder of a split's images."""
    places = list(_places(root, directory))
    for place in places:
        if place.is_dir():
            return place
    raise UserError(
        f"no images: none of {', '.join(map(str, places))} exists; see COCO's chapter in README.md"
    )


def _places(root: Path, directory: str) -> Iterator[Path]:
    for parent in ("", "images", "JPEGImages"):
        yield root / parent / directory
