"""`unia prepare`: raw data, checked, in the common form that every later step reads."""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from unia.data import acdc, coco, images, voc
from unia.data.samples import IGNORE, Dataset, Sample, read_mask, write_dataset
from unia.errors import UserError
from unia.files import atomic, read_json, sha256
from unia.progress import say, track
from unia.recipe import AcdcData, CocoData, Data, ImagesData
from unia.steps.parallel import cores

SHOWN = 20  # problems told at once


def prepare(dataset: str, data: Data, raw: Path, out: Path) -> None:
    """Read what `raw` (of `unia download`) describes and write the folder `out`.

    Raises UserError naming every unreadable, misshapen or missing file, all of them at once.
    """
    about = read_json(raw)
    if about["kind"] != data.kind:
        raise UserError(f"{raw}: is of kind {about['kind']}, not {data.kind}; run the download step again")
    roots = [Path(root) for root in about["roots"]]
    for root in roots:
        if not root.exists():
            raise UserError(f"{root}: is gone since it was downloaded; delete {raw} and run the step again")
    with atomic(out) as folder:
        folder.mkdir()
        if isinstance(data, CocoData):
            found = coco.read(data, roots[0], folder, out)
        elif isinstance(data, AcdcData):
            found = acdc.read(data, roots[0], folder, out)
        elif isinstance(data, ImagesData):
            found = images.read(data, roots[0])
        else:
            found = voc.read(data, roots, folder, out)
        checksums = check(dataset, found, folder, out)
        write_dataset(folder, dataset, data.kind, found, checksums)
    counts = ", ".join(f"{len(samples)} {split}" for split, samples in found.splits.items())
    say(f"prepare {dataset}: {counts}, {len(found.classes)} classes")


def check(dataset: str, found: Dataset, folder: Path, out: Path) -> Mapping[Path, str]:
    """The sha256 of every file of `found`; those of `out` still lie in `folder`.

    Raises UserError with all that is wrong.
    """

    def now(path: Path) -> Path:
        return folder / path.relative_to(out) if path.is_relative_to(out) else path

    problems = list(found.problems)
    checksums: dict[Path, str] = {}
    for split, samples in found.splits.items():
        problems += [f"split {split}: has no images"] if not samples else []
        repeated = [name for name, count in Counter(s.name for s in samples).items() if count > 1]
        problems += [f"split {split}: {name} is listed more than once" for name in repeated]
        problems += [f"{s.name!r}: no name for a file" for s in samples if Path(s.name).name != s.name]
        with ThreadPoolExecutor(cores()) as pool:
            results = pool.map(
                lambda s: _check(s, now(s.image), s.mask and now(s.mask), len(found.classes)), samples
            )
            for sample, (wrong, sums) in zip(
                samples, track(results, f"check {split}", len(samples)), strict=True
            ):
                problems += wrong
                paths = [path for path in (sample.image, sample.mask) if path is not None]
                checksums.update(zip(paths, sums, strict=False))
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise UserError(f"{dataset}: {len(problems)} problems: {'; '.join(problems[:SHOWN])}{more}")
    return checksums


def _check(sample: Sample, image: Path, mask: Path | None, classes: int) -> tuple[list[str], list[str]]:
    """(what is wrong with a sample, the sha256 of its image and mask)."""
    try:
        with Image.open(image) as opened:
            size = opened.size
            opened.draft("L", (1, 1))  # the cheapest way to read a JPEG to its end
            opened.load()
        sums = [sha256(image)]
        if mask is None:
            return [], sums
        label = read_mask(mask)
        sums.append(sha256(mask))
    except UserError as error:
        return [str(error)], []
    except FileNotFoundError as error:
        return [f"{error.filename}: is missing"], []
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return [f"{image}: cannot be read ({error})"], []
    wrong = []
    if label.shape[::-1] != size:
        wrong.append(f"{sample.mask}: is {label.shape[1]}x{label.shape[0]}, its image {size[0]}x{size[1]}")
    strange = [int(value) for value in np.unique(label) if value > classes and value != IGNORE]
    if strange:
        wrong.append(f"{sample.mask}: holds {strange[:5]}, classes end at {classes}")
    return wrong, sums
