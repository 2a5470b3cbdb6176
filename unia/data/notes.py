"""What is wrong with no file of a dataset, but should be known before it is trained on: a line each."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from unia.data.checks import Checked, Colour, Seen
from unia.data.samples import Dataset, Sample
from unia.labels import IGNORE

SHOWN = 3  # names in a line
SCORED = ("val", "test")  # train is learned from its labels alone

DISAGREEMENTS = "disagreements.csv"
DUPLICATES = "duplicates.csv"


def notes(found: Dataset, checked: Checked, out: Path) -> Iterator[str]:
    """The lines, split by split; `out`: the prepared folder, which holds the lists that they name."""
    yield from found.remarks
    for split, samples in checked.splits.items():
        seen = checked.seen[split]
        lines = [
            _disagreeing(checked, split, out),
            _recoloured(samples, seen),
            _without_label(split, samples),
            _without_mask(split, samples),
            _ignored(split, samples, seen),
            _without_class(found, split, samples, seen),
            _turned(samples, seen),
            _transparent(samples, seen),
            _of_pages(samples, seen),
            _in_others(checked, split, out),
            _twice(checked, split, out),
        ]
        yield from (f"{split}: {line}" for line in lines if line)


def _disagreeing(checked: Checked, split: str, out: Path) -> str:
    """In how many images labels and masks disagree; in most of them, what it may come from."""
    differ = {found.name for found in checked.disagreements[split]}
    if not differ:
        return ""
    pairs = zip(checked.splits[split], checked.seen[split], strict=True)
    blank = sum(seen.painted not in (None, ()) and not sample.labels for sample, seen in pairs)
    unlabelled = f", {blank} of them without any label" if blank else ""
    most = len(differ) > checked.compared[split] / 2
    advice = "; are the masks' ids those of the classes, in their order?" if most else ""
    line = f"labels and masks disagree in {len(differ)} of {_images(checked.compared[split])}{unlabelled}"
    return f"{line}; see {out / DISAGREEMENTS}{advice}"


def _recoloured(samples: Sequence[Sample], seen: Sequence[Seen]) -> str:
    """An id that masks show in several colours: a program that saved some of them has renumbered it."""
    colours: dict[int, dict[Colour, str]] = defaultdict(dict)
    for sample, fact in zip(samples, seen, strict=True):
        for number, colour in fact.colours.items():
            colours[number].setdefault(colour, sample.name)
    for number, named in sorted(colours.items()):
        if len(named) > 1 and number != IGNORE:
            (one, first), (other, second), *_ = named.items()
            return (
                f"the masks' palettes differ: {number} is {_hex(one)} in {first}, {_hex(other)} in {second}; "
                "if a program has renumbered them, save the masks again with the ids of the classes"
            )
    return ""


def _without_label(split: str, samples: Sequence[Sample]) -> str:
    """In training, no label says that none of the classes is there, which a cell left blank did not mean."""
    blank = [sample.name for sample in samples if not sample.labels]
    if split in SCORED or not blank:
        return ""
    what = "have no label, which is taken for showing none of the classes"
    return f"{len(blank)} of {_images(len(samples))} {what}: {_some(blank)}"


def _without_mask(split: str, samples: Sequence[Sample]) -> str:
    lacking = [sample.name for sample in samples if sample.mask is None]
    if split not in SCORED or not lacking:
        return ""
    if len(lacking) == len(samples):
        return "no image has a mask, so the split can be predicted, and not scored"
    return f"{len(lacking)} of {_images(len(samples))} have no mask and will not be scored: {_some(lacking)}"


def _ignored(split: str, samples: Sequence[Sample], seen: Sequence[Seen]) -> str:
    """The images of which no pixel is scored."""
    pairs = zip(samples, seen, strict=True)
    blank = [
        sample.name for sample, fact in pairs if fact.pixels is not None and set(fact.pixels) == {IGNORE}
    ]
    if split not in SCORED or not blank:
        return ""
    what = "have a mask of 255 alone, and count for nothing"
    return f"{len(blank)} of {_images(len(samples))} {what}: {_some(blank)}"


def _without_class(found: Dataset, split: str, samples: Sequence[Sample], seen: Sequence[Seen]) -> str:
    """The classes that nothing of the split can teach, or be scored by."""
    masks = [fact.painted for fact in seen if fact.painted is not None]
    if split in SCORED:
        held = {number for painted in masks for number in painted}
        what = "classes that no mask holds, whose IoU stays empty and which mIoU leaves out: {}"
    else:
        held = {number for sample in samples for number in sample.labels or ()}
        what = "classes that no image is labelled with, so that they cannot be learned: {}"
    lacking = [name for number, name in enumerate(found.classes, 1) if number not in held]
    return what.format(_some(lacking)) if lacking and (masks or split not in SCORED) else ""


def _turned(samples: Sequence[Sample], seen: Sequence[Seen]) -> str:
    turned = [sample.name for sample, fact in zip(samples, seen, strict=True) if fact.turned]
    what = "carry an EXIF orientation, which is not applied: the network sees their pixels as stored"
    return f"{len(turned)} of {_images(len(samples))} {what}: {_some(turned)}" if turned else ""


def _transparent(samples: Sequence[Sample], seen: Sequence[Seen]) -> str:
    """Viewers show another colour there than the one that lies below, which the network sees."""
    found = [sample.name for sample, fact in zip(samples, seen, strict=True) if fact.transparent]
    what = "have transparent pixels, of which the network sees the colours that no viewer shows"
    return f"{len(found)} of {_images(len(samples))} {what}: {_some(found)}" if found else ""


def _of_pages(samples: Sequence[Sample], seen: Sequence[Seen]) -> str:
    found = [sample.name for sample, fact in zip(samples, seen, strict=True) if fact.pages > 1]
    what = "hold several pages or frames, of which the first alone is used"
    return f"{len(found)} of {_images(len(samples))} {what}: {_some(found)}" if found else ""


def _in_others(checked: Checked, split: str, out: Path) -> str:
    others = Counter(found.other_split for found in checked.duplicates if found.split == split)
    others.pop(split, None)
    told = ", ".join(f"{_images(count)} of {other}" for other, count in others.items())
    where = f"see {out / DUPLICATES}, and data.duplicates"
    return f"holds, under other names, {told} too (the same files); {where}" if others else ""


def _twice(checked: Checked, split: str, out: Path) -> str:
    again = [found for found in checked.duplicates if found.split == found.other_split == split]
    differing = sum(found.differ for found in again)
    how = f", {differing} of them with different labels or masks" if differing else ""
    where = f"see {out / DUPLICATES}, and data.duplicates"
    return (
        f"holds {_images(len(again))} again, under other names (the same files){how}; {where}"
        if again
        else ""
    )


def _images(count: int) -> str:
    return f"{count} image" + "s" * (count != 1)


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _hex(colour: Colour) -> str:
    return "#" + bytes(colour).hex()
