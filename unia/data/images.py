"""Own data: a folder with images, and a CSV of their image-level labels.

`labels.csv` has a row for each image: `image` (a path below the folder), `split` (train, val or test),
`labels` (class names, separated by ;) and, where there is ground truth to score against, `mask` (the path
of a PNG of class ids: 0 background, 1.. in the order of `data.classes`, 255 ignored). Its cells are separated
by what its first line is separated by: commas, semicolons or tabs.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from unicodedata import normalize

from unia.columns import check_columns
from unia.data.samples import Dataset, Problem, Sample, distinct_names, image_endings
from unia.errors import UserError
from unia.files import walk
from unia.recipe import ImagesData
from unia.system import of_system

TABLE = "labels.csv"
SHOWN = 3  # names in a line
SPLITS = ("train", "val", "test")
COLUMNS = ("image", "split", "labels")
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}  # of cells
BEYOND = " "  # the column of cells beyond the last one; no name, since those have no spaces around them
BETWEEN = re.compile(r"[,|/+&]")  # what people write between labels instead of ;


def origins(key: str, config: ImagesData, source: Path | None, folder: Path) -> list[Path]:
    """The user's folder, which holds the table; UserError where it does not."""
    assert source is not None  # the parameter must be given
    if not (source / TABLE).is_file():
        raise UserError(f"{key}: {source} holds no {TABLE}; see the chapter on own data")
    return [source]


def read(config: ImagesData, roots: Sequence[Path], folder: Path, final: Path) -> Dataset:
    """The splits that the table in the first of `roots` names; train and val are needed.

    Raises UserError where there is no table, or it lacks a column; what is wrong with a row is a problem.
    """
    root = roots[0]
    splits: dict[str, list[Sample]] = {"train": [], "val": []}
    problems = []
    rows = _rows(root / TABLE)
    for line, row in rows:
        try:
            split, sample = _sample(config, root, row)
        except UserError as error:
            name = row["image"] or f"line {line}"
            problems.append(Problem(f"{root / TABLE}:{line}", str(error), row["split"], name))
        else:
            splits.setdefault(split, []).append(sample)
    return Dataset(
        config.classes,
        config.licence,
        config.citation,
        _named(splits, root),
        {},
        problems,
        remarks=list(_unlisted(root, splits)),
    )


def _unlisted(root: Path, splits: Mapping[str, Sequence[Sample]]) -> Iterator[str]:
    """The images in the folder that no row names."""
    samples = [sample for of_split in splits.values() for sample in of_split]
    listed = {path for sample in samples for path in (sample.image, sample.mask)}
    endings = image_endings()
    images = [root / name for name in sorted(walk(root)) if PurePosixPath(name).suffix.lower() in endings]
    left = [path for path in images if path not in listed]
    if left:
        some = ", ".join(map(str, left[:SHOWN])) + (", ..." if len(left) > SHOWN else "")
        yield f"{len(left)} of {len(images)} images and masks are in no row of {root / TABLE}: {some}"


def _named(splits: Mapping[str, list[Sample]], root: Path) -> Mapping[str, list[Sample]]:
    """The samples, with names of their images' own: one for each file, however often it is listed."""
    files = sorted({sample.image for samples in splits.values() for sample in samples})
    names = dict(zip(files, distinct_names([file.relative_to(root) for file in files]), strict=True))
    return {
        split: [replace(sample, name=names[sample.image]) for sample in samples]
        for split, samples in splits.items()
    }


def _rows(table: Path) -> list[tuple[int, Mapping[str, str]]]:
    """(line, row) of the table, cells without spaces around them."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a byte order mark
            separator = _separator(file.readline())
            file.seek(0)
            reader = csv.DictReader(file, restkey=BEYOND, delimiter=separator)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            check_columns(table, reader.fieldnames)
            lacking = [name for name in COLUMNS if name not in reader.fieldnames]
            if lacking:
                raise UserError(
                    f"{table}: lacks the column {lacking[0]}; it needs {', '.join(COLUMNS)}, "
                    f"separated by {', '.join(f'{name}s' for name in SEPARATORS.values())}"
                )
            return [(reader.line_num, _cells(row, separator)) for row in reader]
    except UnicodeDecodeError as error:
        raise UserError(f"{table}: cannot be read ({error}); save it as UTF-8") from None
    except (OSError, csv.Error) as error:
        if of_system(error):
            raise
        raise UserError(f"{table}: cannot be read ({error}); see the chapter on own data") from None


def _separator(head: str) -> str:
    """What the table's first line separates most columns by, a comma if in doubt."""
    return max(SEPARATORS, key=lambda separator: len(set(COLUMNS) & set(_split(head, separator))))


def _split(head: str, separator: str) -> list[str]:
    return [name.strip().lower() for name in next(csv.reader([head], delimiter=separator), [])]


def _cells(row: Mapping[str, Any], separator: str) -> Mapping[str, str]:
    """A row without spaces around its cells; under `BEYOND` what separates it, if it is too long."""
    beyond = any(cell.strip() for cell in row.get(BEYOND, ()))
    cells = {name: (cell or "").strip() for name, cell in row.items() if name != BEYOND}
    return {**cells, BEYOND: SEPARATORS[separator] if beyond else ""}


def _sample(config: ImagesData, root: Path, row: Mapping[str, str]) -> tuple[str, Sample]:
    """(split, sample) of a row, its name yet to be given; UserError for what it may not say."""
    if row[BEYOND]:
        mend = f"put quotes around a cell that holds a {row[BEYOND]}"
        raise UserError(f"has more cells than the first line has columns; {mend}")
    if row["split"] not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)} (it is {row['split']!r})")
    image = _below(root, row["image"])
    mask = _below(root, row["mask"]) if row.get("mask") else None
    return row["split"], Sample("", image, mask, _labels(config.classes, row["labels"]))


def _labels(classes: Sequence[str], cell: str) -> tuple[int, ...]:
    """The class ids that a cell names; an accent may be written as one sign or as two."""
    known = {normalize("NFC", name): number for number, name in enumerate(classes, 1)}
    names = [normalize("NFC", name.strip()) for name in cell.split(";") if name.strip()]
    for name in names:
        if name not in known:
            several = all(part.strip() in known for part in BETWEEN.split(name))
            hint = "; write a ; between labels" if several else ""
            raise UserError(f"{name!r} is none of data.classes: {', '.join(classes)}{hint}")
    return tuple(sorted({known[name] for name in names}))


def _below(root: Path, path: str) -> Path:
    """The file that `path` means below `root`, however its accents are written there, or its slashes here."""
    spellings = [path, normalize("NFC", path), normalize("NFD", path), path.replace("\\", "/")]
    for spelling in spellings:
        if not PurePosixPath(spelling).name:
            raise UserError("names no image")
        if Path(spelling).is_absolute() or ".." in Path(spelling).parts:
            raise UserError(f"{path!r} must be a path below {root}")
    return next((root / name for name in dict.fromkeys(spellings) if _is_there(root / name)), root / path)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long for a name: nothing can be there
        return False
