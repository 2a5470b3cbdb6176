"""The folder of `unia predict`: a run replaces there what earlier runs have made, and nothing else.

The table, written last of all, holds the sha256 of the run's files. Till then `.begun` lists them, with those
that earlier runs may have left: each before it is there, so that a killed run leaves no unknown file.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unia.errors import UserError
from unia.files import atomic, listing, names, read_json, read_listing, sha256, write_json

BEGUN = ".begun"
FILES = "files"  # the table's key for name -> sha256


@dataclass(frozen=True)
class Replaced:
    """The `folders` below `out` that a run fills, and its table.

    `earlier`: name below `out` -> sha256 of what lies there, and earlier runs have made.
    """

    out: Path
    folders: Sequence[str]
    table: str
    earlier: Mapping[str, str]
    made: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Remove what earlier runs have made, the table first: it is not true from here on."""
        self.out.mkdir(parents=True, exist_ok=True)
        with atomic(self.out / BEGUN) as temporary:
            temporary.write_bytes(os.fsencode(listing(self.earlier)))
        (self.out / self.table).unlink(missing_ok=True)
        for name in self.earlier:
            (self.out / name).unlink(missing_ok=True)
        for folder in self.folders:
            for cut_off in (self.out / folder).glob(".*.partial"):  # of `atomic`, in a run that was killed
                cut_off.unlink()
            with suppress(OSError):  # not there; or it holds something, whose name starts with a dot
                (self.out / folder).rmdir()

    def write(self, name: str, write: Callable[[Path], None]) -> None:
        """Make the file `name`, below `out`, by `write`."""
        with atomic(self.out / name) as temporary:
            write(temporary)
            self.made[name] = sha256(temporary)
            with (self.out / BEGUN).open("ab") as begun:
                begun.write(os.fsencode(listing({name: self.made[name]})))

    def end(self, about: Mapping[str, Any]) -> None:
        """Write the table: `about`, and the files."""
        write_json(self.out / self.table, {**about, FILES: self.made})
        (self.out / BEGUN).unlink(missing_ok=True)


def replaced(out: Path, folders: Sequence[str], table: str) -> Replaced:
    """What a run may replace in `out`; nothing is changed yet.

    Raises UserError where something lies there that no run has made, or that was changed since, as a mask
    that somebody corrected. Of what an older version has made neither is known, so that it is refused.
    """
    earlier = _earlier(out, table)
    if earlier is None:
        raise _not_ours(out / table)
    lying = {name: sha256(out / name) for name in _lying(out, folders, earlier)}
    for name, digest in lying.items():
        if earlier.get(name) != digest:
            raise _not_ours(out / name)
    return Replaced(out, folders, table, lying)


def _lying(out: Path, folders: Sequence[str], earlier: Iterable[str]) -> Iterator[str]:
    """The files in the folders; of those whose names start with a dot, which tools leave, the runs' alone."""
    for folder in folders:
        if (out / folder).is_dir():
            yield from (f"{folder}/{name}" for name in names(out / folder))
        elif (out / folder).exists():
            yield folder
    hidden = [name for name in earlier if name.startswith(tuple(f"{folder}/." for folder in folders))]
    yield from (name for name in hidden if ".." not in Path(name).parts and (out / name).is_file())


def _earlier(out: Path, table: str) -> Mapping[str, str] | None:
    """Name -> sha256 of all that runs have made in `out`; None where its table is not of them."""
    if (out / BEGUN).exists():
        return read_listing(os.fsdecode((out / BEGUN).read_bytes()))
    if not (out / table).exists():
        return {}
    try:
        about = read_json(out / table)
    except UserError:
        return None
    files = about.get(FILES) if isinstance(about, dict) else None
    return files if isinstance(files, dict) else None


def _not_ours(path: Path) -> UserError:
    return UserError(
        f"{path}: is not what `unia predict`, in this version, has left there, where a run replaces all; "
        "name another --out, or move it away"
    )
