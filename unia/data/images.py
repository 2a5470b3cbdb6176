"""Own data: a folder with images, and a CSV of their image-level labels.

`labels.csv` has a row for each image: `image` (a path below the folder), `split` (train, val or test),
`labels` (class names, separated by ;) and, where there is ground truth to score against, `mask` (the path
of a PNG of class ids: 0 background, 1.. in the order of `data.classes`, 255 ignored).
"""

import csv
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from unia.data.samples import Dataset, Problem, Sample
from unia.errors import UserError
from unia.recipe import ImagesData

TABLE = "labels.csv"
SPLITS = ("train", "val", "test")
COLUMNS = ("image", "split", "labels")


def read(config: ImagesData, root: Path) -> Dataset:
    """The splits that the table names; train and val are needed.

    Raises UserError where there is no table, or it lacks a column; what is wrong with a row is a problem.
    """
    splits: dict[str, list[Sample]] = {"train": [], "val": []}
    problems = []
    for line, row in _rows(root / TABLE):
        try:
            split, sample = _sample(config, root, row)
        except UserError as error:
            name = row["image"] or f"line {line}"
            problems.append(Problem(f"{root / TABLE}:{line}", str(error), row["split"], name))
        else:
            splits.setdefault(split, []).append(sample)
    return Dataset(config.classes, config.licence, config.citation, splits, {}, problems)


def _rows(table: Path) -> list[tuple[int, Mapping[str, str]]]:
    """(line, row) of the table, cells without spaces around them."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a byte order mark
            reader = csv.DictReader(file)
            lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if lacking:
                raise UserError(f"{table}: lacks the column {lacking[0]}; it needs {', '.join(COLUMNS)}")
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: cannot be read ({error}); see the chapter on own data") from None
    return [
        (line, {k: (v or "").strip() for k, v in row.items() if isinstance(k, str)}) for line, row in rows
    ]


def _sample(config: ImagesData, root: Path, row: Mapping[str, str]) -> tuple[str, Sample]:
    """(split, sample) of a row; UserError for what it may not say."""
    if row["split"] not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)} (it is {row['split']!r})")
    names = [name.strip() for name in row["labels"].split(";") if name.strip()]
    unknown = [name for name in names if name not in config.classes]
    if unknown:
        raise UserError(f"{unknown[0]!r} is none of data.classes: {', '.join(config.classes)}")
    labels = tuple(sorted({config.classes.index(name) + 1 for name in names}))
    image = _below(root, row["image"])
    mask = _below(root, row["mask"]) if row.get("mask") else None
    name = "_".join(PurePosixPath(row["image"]).with_suffix("").parts)
    return row["split"], Sample(name, image, mask, labels)


def _below(root: Path, path: str) -> Path:
    if not PurePosixPath(path).name:
        raise UserError("names no image")
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise UserError(f"{path!r} must be a path below {root}")
    return root / path
