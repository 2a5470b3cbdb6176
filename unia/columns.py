"""The columns of a CSV."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from unia.errors import UserError


def check_columns(table: Path, names: Iterable[str]) -> None:
    """UserError where two columns of `table` have one name: `csv` and pandas take one of them, silently.

    Columns without a name do no harm: spreadsheets write such behind the others.
    """
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise UserError(f"{table}: has more than one column {twice[0]}; keep one of them")
