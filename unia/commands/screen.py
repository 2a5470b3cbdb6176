"""Where tables and traces are printed: no name and no number of them is ever cut."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from unia.errors import UserError
from unia.files import sha256
from unia.steps.published import published, show_published
from unia.steps.table import show
from unia.tracking.receipt import UNLIKE, find_receipt, made_hash, read_receipt

ENDLESS = 10_000  # characters of a line that nobody looks at through a window


def screen() -> Console:
    """As wide as the terminal; a pipe or a file takes lines of any length."""
    return Console(width=None if sys.stdout.isatty() else ENDLESS, highlight=False)


def print_table(path: Path, console: Console, others: Path | None = None) -> None:
    """A table, in as many blocks as the console needs; below it, what `others` holds of its split.

    Above it stands what its receipt says against its numbers.
    """
    console.print(str(path), markup=False, soft_wrap=True)
    for remark in _remarks(path):
        console.print(remark, markup=False, soft_wrap=True)
    for block in _blocks(path, console):
        width = console.width
        console.width = max(width, _width(block, console))  # a terminal breaks what is longer, without loss
        console.print(block)
        console.width = width
    rows = published(others, path) if others else []
    if rows:
        console.print(show_published(rows))


def page(paths: list[Path], others: Path) -> str:
    """The same tables as a page of HTML, which scrolls sideways."""
    console = Console(record=True, file=io.StringIO(), width=ENDLESS, highlight=False)
    for path in paths:
        print_table(path, console, others)
    return console.export_html(inline_styles=True)


def _remarks(path: Path) -> Iterator[str]:
    """Why a table's numbers are no results, as far as its receipt tells."""
    receipt = find_receipt(path)
    if receipt is None:
        return
    try:
        made = read_receipt(receipt)
        as_made = made_hash(made, path) == sha256(path)
    except (UserError, OSError) as error:
        yield f"warning: nothing is known of these numbers: {error}"
        return
    if not as_made:
        yield f"warning: {UNLIKE}; see `unia trace --verify`"
    if made["size"] == "small":
        yield "a trial (size: small), not to be compared with published numbers"


def _blocks(path: Path, console: Console) -> Iterator[Table]:
    """The table, whole or with some of its columns at a time: as many as fit beside the names of the rows."""
    columns = len(show(path).columns) - 1
    first = 0
    while first < columns:
        last = first + 1
        while last < columns and _width(show(path, slice(first, last + 1)), console) <= console.width:
            last += 1
        yield show(path, slice(first, last))
        first = last


def _width(table: Table, console: Console) -> int:
    return console.measure(table, options=console.options.update(width=ENDLESS)).maximum
