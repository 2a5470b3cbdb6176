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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

from unia.data.samples import Dataset, Sample, write_label
from unia.errors import UserError
from unia.files import read_json
from unia.progress import track
from unia.recipe import CocoData
from unia.steps.parallel import cores

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
LICENCE = "annotations: CC BY 4.0; images: Flickr terms of use"
CITATION = "Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014"

Object = tuple[int, Any]
"""(class, segmentation) of an annotation."""


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
    """The splits train and val of the COCO below `root`; images without any annotation are left out.

    Masks are written to `masks`/masks/<split> and recorded below `final`. An image's labels are its
    annotated classes, which later objects may have painted over in the mask. Raises UserError with
    all that is missing or wrong.
    """
    year = _year(root)
    splits: dict[str, list[Sample]] = {}
    problems: list[str] = []
    for split in ("train", "val"):
        splits[split], wrong = _split(root, f"{split}{year}", masks, Path("masks") / split, final)
        problems += wrong
    if problems:
        raise UserError(f"{root}: {len(problems)} problems: {'; '.join(problems[:20])}")
    return Dataset(tuple(CATEGORIES.values()), LICENCE, CITATION, splits, {})


def _split(
    root: Path, directory: str, masks: Path, folder: Path, final: Path
) -> tuple[list[Sample], list[str]]:
    """Paint the masks of one split into `masks`/`folder`: (its samples, what is wrong)."""
    images = _images(root, directory)
    pictures, wrong = _pictures(_annotations(root, directory))
    there = {path.name for path in images.iterdir()}
    wrong += [f"{images / p.file}: is missing" for p in pictures if p.file not in there]
    wrong += _paint_all(pictures, masks / folder, f"paint {directory}")
    return [
        Sample(p.name, images / p.file, final / folder / f"{p.name}.png", _labels(p)) for p in pictures
    ], wrong


def paint(height: int, width: int, objects: Sequence[Object]) -> NDArray[np.uint8]:
    """The mask (height x width, class ids) of (class, segmentation) pairs; later ones cover earlier ones.

    Raises ValueError for a segmentation that is none.
    """
    mask = np.zeros((height, width), np.uint8)
    for number, segmentation in objects:
        mask[_region(height, width, segmentation)] = number
    return mask


def _region(height: int, width: int, segmentation: Any) -> NDArray[np.bool_]:
    """Where an object is, height x width. pycocotools believes what it is given, so that is checked."""
    try:
        if isinstance(segmentation, list):
            encoded = _polygons(height, width, segmentation)
        else:
            encoded = _run_lengths(height, width, segmentation["size"], segmentation["counts"])
        decoded: NDArray[np.uint8] = rle.decode(encoded)
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"no segmentation: {error!r}") from None
    # Where compressed run lengths end early, pycocotools leaves the rest to chance.
    if not isinstance(segmentation, list) and rle.area(rle.encode(decoded)) != rle.area(encoded):
        raise ValueError("run lengths that do not fill the image")
    return decoded.astype(bool)


def _polygons(height: int, width: int, polygons: Sequence[Sequence[float]]) -> Any:
    """The union of polygons [x, y, x, y, ...] in pixels; those of fewer than three points have no area."""
    points = [np.array(polygon, float).reshape(-1, 2) for polygon in polygons]
    if any(not np.abs(p).max(initial=0) <= 10 * (height + width) for p in points):  # `not`: NaN as well
        raise ValueError("a polygon far outside the image")
    flat = [p.ravel().tolist() for p in points if len(p) >= 3]
    return rle.merge(rle.frPyObjects(flat or [[0.0] * 6], height, width))


def _run_lengths(height: int, width: int, size: Sequence[int], counts: Any) -> Any:
    """Run lengths, column by column and background first: as a list, or compressed to a string."""
    if list(size) != [height, width]:
        raise ValueError(f"run lengths of size {size}, not {[height, width]}")
    region = {"size": [height, width], "counts": counts}
    if not isinstance(counts, list):
        return region
    if sum(counts) != height * width:
        raise ValueError(f"run lengths of {sum(counts)} pixels, not {height * width}")
    return rle.frPyObjects(region, height, width)


def _paint_all(pictures: Sequence[_Picture], folder: Path, description: str) -> list[str]:
    """Write the masks to `folder`, in as many processes as there are cores; returns what is wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    pool = ProcessPoolExecutor(
        min(cores(), 1 + len(pictures) // CHUNK),
        get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),  # Ctrl-C is the parent's to handle
    )
    try:
        found = pool.map(partial(_write, folder), pictures, chunksize=CHUNK)
        return [problem for problem in track(found, description, len(pictures)) if problem]
    except BrokenProcessPool:
        raise UserError(
            f"{description}: a process died, perhaps for want of memory; "
            "free some memory, or allow fewer cores (taskset), and run the step again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _write(folder: Path, picture: _Picture) -> str | None:
    """Paint and write a picture's mask; returns what is wrong with it."""
    try:
        mask = paint(picture.height, picture.width, picture.objects)
    except ValueError as error:
        return f"{picture.file}: its annotations cannot be painted ({error})"
    write_label(folder / f"{picture.name}.png", mask)
    return None


def _labels(picture: _Picture) -> tuple[int, ...]:
    return tuple(sorted({number for number, _ in picture.objects}))


def _pictures(path: Path) -> tuple[list[_Picture], list[str]]:
    """(the annotated images of an annotation file, by name; what is wrong with the file)."""
    content = read_json(path)
    objects: dict[int, list[Object]] = defaultdict(list)
    strange: set[int] = set()
    try:
        for annotation in content["annotations"]:
            category = annotation["category_id"]
            if category in CLASS:
                objects[annotation["image_id"]].append((CLASS[category], annotation["segmentation"]))
            else:
                strange.add(category)
        pictures = [
            _Picture(Path(image["file_name"]).name, image["height"], image["width"], objects[image["id"]])
            for image in content["images"]
            if image["id"] in objects
        ]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: holds no COCO instance annotations ({error!r})") from None
    wrong = [f"{path}: category {category} is none of COCO's 80" for category in sorted(strange)]
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
