"""What others have published of a split: shown beside our own table, never in it.

Their file (`docs/published.csv`) has a row for each number: dataset, split, method, mIoU in percent, and
source.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from unia.columns import check_columns
from unia.errors import UserError

COLUMNS = ("dataset", "split", "method", "mIoU", "source")


def published(path: Path, table: Path) -> list[dict[str, str]]:
    """The rows in `path` of the split that `table`, <dataset>_<split>.csv, holds; none for other names.

    Raises UserError where the file cannot be read, lacks a column or has it twice, or a row lacks its source.
    """
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets write a byte order mark
            reader = csv.DictReader(file)
            check_columns(path, reader.fieldnames or ())
            rows = list(reader)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read ({error}); save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}: cannot be read ({error}); mend that line") from None
    for line, row in enumerate(rows, 2):
        lacking = [column for column in COLUMNS if not row.get(column)]
        if lacking:
            raise UserError(f"{path}:{line}: lacks {', '.join(lacking)}; each number needs its source")
    return [row for row in rows if f"{row['dataset']}_{row['split']}" == table.stem]


def show_published(rows: Sequence[dict[str, str]]) -> Table:
    """A table of its own for the terminal."""
    shown = Table(title="Published by others, not computed here", box=SIMPLE_HEAD, pad_edge=False)
    for column in COLUMNS:
        shown.add_column(column, justify="right" if column == "mIoU" else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(row[column]) for column in COLUMNS))
    return shown
