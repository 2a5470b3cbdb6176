"""Every file of a dataset, looked at before anything is trained on it: what is wrong, and what is there."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from struct import error as StructError
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

from unia.data.samples import (
    DEEP,
    NAME,
    TOO_DEEP,
    Dataset,
    Problem,
    Sample,
    deep_colour,
    read_mask,
)
from unia.errors import UserError
from unia.files import sha256
from unia.labels import IGNORE
from unia.parallel import cores
from unia.progress import track
from unia.system import of_system, told

TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


Colour = tuple[int, ...]
"""Red, green, blue: 0..255."""


@dataclass(frozen=True)
class Seen:
    """What a sample's files are; `pixels`: class id -> how many in the mask, None without one."""

    size: tuple[int, int]
    """Width and height of the image as stored, in pixels."""
    turned: bool
    """Whether EXIF says to turn or mirror the image to see it, which nothing here does."""
    transparent: bool
    """Whether some pixels of the image are meant to let through what lies behind it."""
    pages: int
    """How many pictures the file holds, of which the first is used."""
    pixels: Mapping[int, int] | None
    colours: Mapping[int, Colour]
    """Class id -> its colour in the mask's palette; none for a grey mask."""
    image_sha256: str
    mask_sha256: str | None

    @property
    def painted(self) -> tuple[int, ...] | None:
        """The classes with at least one pixel in the mask."""
        return None if self.pixels is None else tuple(k for k in sorted(self.pixels) if k not in (0, IGNORE))


@dataclass(frozen=True)
class Disagreement:
    """A class that an image is labelled with or that its mask holds, but not both."""

    name: str
    number: int
    labelled: bool


@dataclass(frozen=True)
class Duplicate:
    """Images that are the same, byte for byte, under two names: of two splits, or of one."""

    split: str
    sample: Sample
    other_split: str
    other: Sample
    differ: bool = False
    """Whether, within one split, their labels or masks are not the same."""


@dataclass(frozen=True)
class Checked:
    """The samples that can be used, what is known of each, by split, and all that is wrong."""

    splits: Mapping[str, Sequence[Sample]]
    seen: Mapping[str, Sequence[Seen]]
    disagreements: Mapping[str, Sequence[Disagreement]]
    compared: Mapping[str, int]
    """How many images of a split have both labels and a mask, which can disagree."""
    duplicates: Sequence[Duplicate]
    problems: Sequence[Problem]


def check(found: Dataset, locate: Callable[[Path], Path], refuse_duplicates: bool = False) -> Checked:
    """Read every image and mask of `found`. `locate` maps a recorded path to where the file is now.

    With labels from masks, the samples returned carry them. A sample with any problem is not among
    `splits`; of one listed twice alike, one stays. A label without a pixel, and a mask's class without a
    label, are no problem: labels and masks were made by different people. Nor is an image that is there
    under another name too, unless `refuse_duplicates`: then it is one of the split named first or, within a
    split, of all but the first image; of the first as well where they differ, so that none can be believed.
    """
    problems = [*found.problems, *_between_splits(found.splits)]
    looked: dict[str, list[tuple[Sample, Seen]]] = {}
    repeated: list[Problem] = []
    for split, samples in found.splits.items():
        distinct, repeats = _distinct(split, samples)
        facts, wrong = _look_at_all(split, distinct, locate, len(found.classes))
        problems += wrong
        repeated += repeats
        looked[split] = [(sample, facts[sample.name]) for sample in distinct if sample.name in facts]
    duplicates = list(_duplicates(looked, lambda sample: locate(sample.image) != sample.image))
    if refuse_duplicates:
        problems += list(dict.fromkeys(problem for found in duplicates for problem in _refused(found)))
    spoilt = {(problem.split, problem.name) for problem in problems}
    splits: dict[str, list[Sample]] = {}
    seen: dict[str, list[Seen]] = {}
    disagreements: dict[str, list[Disagreement]] = {}
    compared: dict[str, int] = {}
    for split, pairs in looked.items():
        usable = [(sample, fact) for sample, fact in pairs if (split, sample.name) not in spoilt]
        disagreements[split] = [d for sample, fact in usable for d in _compare(sample, fact)]
        compared[split] = sum(
            sample.labels is not None and fact.pixels is not None for sample, fact in usable
        )
        if found.labels_from == "masks":
            usable = [(replace(sample, labels=fact.painted), fact) for sample, fact in usable]
        splits[split], seen[split] = [sample for sample, _ in usable], [fact for _, fact in usable]
        problems += _of_split(split, usable, found.classes)
    problems = sorted([*problems, *repeated], key=lambda p: (p.split, p.name, str(p.file), p.reason))
    return Checked(splits, seen, disagreements, compared, duplicates, problems)


def _look_at_all(
    split: str, samples: Sequence[Sample], locate: Callable[[Path], Path], classes: int
) -> tuple[dict[str, Seen], list[Problem]]:
    """(name -> what is known of a sample, what is wrong with the others)."""
    seen: dict[str, Seen] = {}
    problems: list[Problem] = []
    with ThreadPoolExecutor(cores()) as pool:
        results = pool.map(lambda sample: _look(sample, split, locate, classes), samples)
        for sample, result in zip(samples, track(results, f"check {split}", len(samples)), strict=True):
            if isinstance(result, Seen):
                seen[sample.name] = result
            else:
                problems += result
    return seen, problems


def _between_splits(splits: Mapping[str, Sequence[Sample]]) -> Iterator[Problem]:
    """Training images that another split holds too, and names that no file can have."""
    for split, samples in splits.items():
        yield from (
            Problem("", f"{s.name!r} is no name for a file, or too long for one", split, s.name)
            for s in samples
            if Path(s.name).name != s.name or len(os.fsencode(s.name)) > NAME
        )
    for one, other in permutations(splits, 2):
        if one == "train":
            held = {sample.name for sample in splits[other]}
            yield from (
                Problem(s.image, f"is in the splits {one} and {other}", one, s.name)
                for s in splits[one]
                if s.name in held
            )


def _duplicates(
    looked: Mapping[str, Sequence[tuple[Sample, Seen]]], cut: Callable[[Sample], bool]
) -> Iterator[Duplicate]:
    """Each image that a later split, or else its own split further up, holds under another name.

    Within a split those are passed over that `prepare` has `cut` itself: tiles and slices may all be blank.
    """
    later: dict[str, tuple[str, Sample]] = {}
    for split, pairs in reversed(list(looked.items())):
        above: dict[str, tuple[Sample, Seen]] = {}
        for sample, seen in pairs:
            key = seen.image_sha256
            other_split, other = later.get(key, (split, sample))
            first, first_seen = above.setdefault(key, (sample, seen))
            if other.name != sample.name:
                yield Duplicate(split, sample, other_split, other)
            elif key not in later and first is not sample and not cut(sample):
                differ = (sample.labels, seen.mask_sha256) != (first.labels, first_seen.mask_sha256)
                yield Duplicate(split, sample, split, first, differ)
        later |= {key: (split, sample) for key, (sample, _) in above.items()}


def _refused(found: Duplicate) -> Iterator[Problem]:
    """What is wrong with the images of a duplicate: with the one, or both where neither can be believed."""
    one, other, how = found.sample, found.other, ", with different labels or masks" if found.differ else ""
    yield Problem(
        one.image, f"is the same picture as {other.image} of {found.other_split}{how}", found.split, one.name
    )
    if found.differ:
        yield Problem(
            other.image, f"is the same picture as {one.image} of {found.split}{how}", found.split, other.name
        )


def _of_split(split: str, usable: Sequence[tuple[Sample, Seen]], classes: Sequence[str]) -> Iterator[Problem]:
    """What concerns a split as a whole."""
    masks = [seen.painted for _, seen in usable if seen.painted is not None]
    if not usable:
        yield Problem("", "has no usable image", split)
    elif masks and not any(masks):
        ids = ", ".join(f"{number} {name}" for number, name in list(enumerate(classes, 1))[:3])
        more = ", ..." if len(classes) > 3 else ""
        reason = (
            "its masks hold no class, only 0 (background) and 255 (ignored), so there is nothing to score"
        )
        yield Problem("", f"{reason}; the pixels of a class must hold its id: {ids}{more}", split)
    elif split == "train" and not any(sample.labels for sample, _ in usable):
        yield Problem("", "no image has a label, so there is nothing to learn", split)


def _distinct(split: str, samples: Sequence[Sample]) -> tuple[list[Sample], list[Problem]]:
    """(the samples, each name once; the names that are there more often).

    Where two of a name differ (in their labels, say), neither can be believed and none is kept.
    """
    by_name: dict[str, set[Sample]] = defaultdict(set)
    repeated = []
    for sample in samples:
        if sample.name in by_name:
            repeated.append(sample)
        by_name[sample.name].add(sample)
    differing = {name for name, same in by_name.items() if len(same) > 1}
    problems = {
        Problem(s.image, f"{s.name} is listed more than once{_how(s.name in differing)}", split, s.name)
        for s in repeated
    }
    kept = [min(by_name[name], key=str) for name in by_name if name not in differing]
    return kept, list(problems)


def _how(differing: bool) -> str:
    return ", with different labels or files" if differing else ""


def _look(sample: Sample, split: str, locate: Callable[[Path], Path], classes: int) -> Seen | list[Problem]:
    """What a sample's files are, or what is wrong with them."""
    if split == "train" and sample.labels is None and sample.mask is None:
        return [Problem(sample.image, "has no image-level labels", split, sample.name)]
    problems = []
    colours: Mapping[int, Colour] = {}
    image, pixels, sums = None, None, [""]
    try:
        image = _image(locate(sample.image))
        sums = [sha256(locate(sample.image))]
    except (UserError, PermissionError) as error:
        problems.append(Problem(sample.image, str(told(error) or error), split, sample.name))
    if sample.mask is not None:
        path = locate(sample.mask)
        try:
            shape, pixels = _mask(path, classes)
            colours = _colours(path, pixels)
            if image is not None and shape != image.size:
                raise UserError(_sizes(shape, image.size, image.orientation in TURNED))
            sums.append(sha256(path))
        except (UserError, PermissionError) as error:
            reason = str(told(error) or error).removeprefix(f"{path}: ")
            problems.append(Problem(sample.mask, reason, split, sample.name))
    if image is None or problems:
        return problems
    mask_sum = sums[-1] if sample.mask else None
    turned = image.orientation != 1
    return Seen(image.size, turned, image.transparent, image.pages, pixels, colours, sums[0], mask_sum)


def _sizes(mask: tuple[int, int], image: tuple[int, int], turned: bool) -> str:
    hint = " before its EXIF orientation turns it; turn its pixels instead" if turned else ""
    return f"is {mask[0]}x{mask[1]}, its image {image[0]}x{image[1]}{hint}"


def _mask(path: Path, classes: int) -> tuple[tuple[int, int], Mapping[int, int]]:
    """(width and height, class id -> pixels) of a mask."""
    label = read_mask(path)
    counts = np.bincount(label.ravel(), minlength=256)
    present = np.flatnonzero(counts).tolist()
    strange = [value for value in present if classes < value != IGNORE]
    if strange:
        raise UserError(f"holds {strange[:5]}, classes end at {classes}")
    return (label.shape[1], label.shape[0]), {k: int(counts[k]) for k in present}


def _colours(path: Path, ids: Iterable[int]) -> Mapping[int, Colour]:
    """The colours of class ids in a mask's palette, if it has one."""
    with Image.open(path) as image:
        palette = (image.getpalette() or []) if image.mode == "P" else []
    return {k: tuple(palette[3 * k : 3 * k + 3]) for k in ids if 3 * k < len(palette)}


class _Image(NamedTuple):
    size: tuple[int, int]
    """Width and height as stored."""
    orientation: int
    """EXIF's; 1 where there is none."""
    transparent: bool
    pages: int


def _image(path: Path) -> _Image:
    """An image, read to its end; UserError where it cannot be used."""
    try:
        with Image.open(path) as image:
            size, mode, deep = image.size, image.mode, deep_colour(image)
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            image.draft("L", (1, 1))  # the cheapest way to read a JPEG to its end
            image.load()
            transparent = image.has_transparency_data and _lets_through(image)
            pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # a photo with its previews
    except FileNotFoundError:
        raise UserError("is missing") from None
    except (OSError, SyntaxError, ValueError, StructError, Image.DecompressionBombError) as error:
        if of_system(error):
            raise
        raise UserError(f"cannot be read ({str(error).removesuffix(f' {str(path)!r}')})") from None
    if Image.MAX_IMAGE_PIXELS is not None and size[0] * size[1] > Image.MAX_IMAGE_PIXELS:
        raise UserError(f"{size[0]} x {size[1]} pixels are too many for an image")
    if deep or mode.startswith(DEEP):
        raise UserError(TOO_DEEP.format(mode))
    stored = orientation in range(1, 9) and image.format != "TIFF"
    return _Image(size, orientation if stored else 1, transparent, pages)


def _lets_through(image: Image.Image) -> bool:
    """Whether any pixel is not opaque."""
    least, _ = image.convert("RGBA").getchannel("A").getextrema()
    return least != 255


def _compare(sample: Sample, seen: Seen) -> Iterator[Disagreement]:
    if sample.labels is None or seen.painted is None:
        return
    for number in sorted(set(sample.labels) ^ set(seen.painted)):
        yield Disagreement(sample.name, number, number in sample.labels)
