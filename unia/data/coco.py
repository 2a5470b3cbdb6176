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

from unia.data.samples import IGNORE, Dataset, Problem, Sample, write_label
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
MAX_SIDE = 1 << 15  # pixels; no image of COCO is near it
LICENCE = "annotations: CC BY 4.0; images: Flickr terms of use"
CITATION = "Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014"


@dataclass(frozen=True)
class Object:
    """An annotation: class, segmentation as COCO writes it, and whether that is a crowd's."""

    number: int
    segmentation: Any
    crowd: bool = False


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


def paint(
    config: CocoData, height: int, width: int, objects: Sequence[Object]
) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    """(the mask, height x width class ids; the classes of its objects). Later objects cover earlier ones.

    A crowd is painted as its class, skipped as if it weren't annotated, or ignored: its pixels are 255 and
    it gives no label. So it is skipped too if an object of less than `min_area` pixels. Raises ValueError
    for a segmentation that is none.
    """
    mask = np.zeros((height, width), np.uint8)
    labels = set()
    for thing in objects:
        region = _region(height, width, thing.segmentation)
        rule = config.crowd if thing.crowd else "paint"
        if rule == "skip" or np.count_nonzero(region) < config.min_area:
            continue
        mask[region] = thing.number if rule == "paint" else IGNORE
        if rule == "paint":
            labels.add(thing.number)
    return mask, tuple(sorted(labels))


def _region(height: int, width: int, segmentation: Any) -> NDArray[np.bool_]:
    """Where an object is, height x width. pycocotools believes what it is given, so that is checked."""
    try:
        if isinstance(segmentation, list):
            encoded = _polygons(height, width, segmentation)
        else:
            encoded = _run_lengths(height, width, segmentation["size"], segmentation["counts"])
        decoded: NDArray[np.uint8] = rle.decode(encoded)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"no segmentation: {error!r}") from None
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
    lengths = counts if isinstance(counts, list) else _decompressed(counts)
    if sum(lengths) != height * width:
        raise ValueError(f"run lengths of {sum(lengths)} pixels, not {height * width}")
    return rle.frPyObjects({"size": [height, width], "counts": lengths}, height, width)


def _decompressed(text: str) -> list[int]:
    """The run lengths in a string: 5 bits a character from "0" on, low ones first, 32 where more follow.

    From the fourth on they are differences from the last but one (rleFrString in COCO's maskApi.c).
    pycocotools reads beyond the end of strings that are none, so they are read here.
    """
    lengths: list[int] = []
    value = shift = 0
    for byte in text.encode("ascii"):
        code = byte - 48
        if not 0 <= code < 64:
            raise ValueError("run lengths in a string that is none of COCO's")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (code & 16) << (shift - 4)
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("run lengths in a string that ends too early")
    return lengths


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
        raise UserError(
            f"{description}: a process died, perhaps for want of memory; "
            "free some memory, or allow fewer cores (taskset), and run the step again"
        ) from None
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
