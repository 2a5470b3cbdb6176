"""Where things lie below a dataset's folders: people unpack archives one folder deeper or less."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from unia.errors import UserError

DEPTH = 6


def folders(roots: Sequence[Path], name: str) -> Iterator[Path]:
    """Every folder called `name` (it may be a/b) in or below `roots`: root by root, near the top first."""
    for root in roots:
        for depth in range(DEPTH):
            yield from (found for found in sorted(root.glob("*/" * depth + name)) if found.is_dir())
        if root.name == name:
            yield root


def folder(roots: Sequence[Path], name: str, what: str) -> Path:
    """The first of `folders`; UserError, calling it `what`, where there is none."""
    for found in folders(roots, name):
        return found
    raise missing(roots, what)


def missing(roots: Sequence[Path], what: str) -> UserError:
    """The error for data that lacks `what`."""
    places = ", ".join(map(str, roots))
    return UserError(f"{places}: holds no {what}; see the dataset's chapter in README.md")
