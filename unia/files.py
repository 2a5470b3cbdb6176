"""Outputs appear whole or not at all: written under a temporary name, then renamed, by one run at a time.

What lies in a file or a folder is known by its sha256.
"""

import errno
import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from unia.errors import UserError
from unia.progress import say
from unia.system import of_system

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # some network file systems


@contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it onto `target` if the block succeeds.

    The block creates either a file or a folder there. What an earlier, killed run left under the
    temporary name is cleared first; if the block fails, nothing is left and `target` is untouched.
    Where the disk is full, the OSError names `target`.
    """
    temporary = sibling(target, f".{target.name}.partial")
    with _naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove(temporary)
        try:
            yield temporary
            _replace(target, temporary)
        finally:
            remove(temporary)


@contextmanager
def resumed(target: Path, made_of: str, whole: bool = True) -> Iterator[Path]:
    """As `atomic`, for a folder that takes hours to fill: if the block fails, what it has finished stays.

    Yield the unfinished folder of the fingerprint `made_of`. What an interrupted run of this fingerprint has
    finished is still in it; unfinished folders of other fingerprints are removed. The block writes each file
    atomically, and only those that are missing. With `whole` false the block fills a part of the folder, and
    others fill the rest: the folder then stays unfinished.
    """
    unfinished = sibling(target, f".{target.name}.{made_of[:12]}.partial")
    with _naming(target):
        if not whole:
            unfinished.mkdir(parents=True, exist_ok=True)
            yield unfinished
            return
        for other in target.parent.glob(f".{glob.escape(target.name)}.{12 * '[0-9a-f]'}.partial"):
            if other != unfinished:
                remove(other)
        unfinished.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            _replace(target, unfinished)
        finally:
            if unfinished.is_dir() and not any(unfinished.iterdir()):
                unfinished.rmdir()


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Keep other processes from making `target` meanwhile; UserError where one is at it."""
    path = sibling(target, f".{target.name}.lock")
    lock = FileLock(path, timeout=0)
    made = [folder for folder in path.parents if not folder.exists()]
    with _naming(target):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(f"{target}: another run is writing it; wait for its end") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise OSError(error.errno, error.strerror, str(target)) from error
            say(f"warning: {target}: {error.strerror} on its file system; take care to run no step twice")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # a folder that holds something stays
            for folder in made:
                folder.rmdir()


def sibling(target: Path, name: str) -> Path:
    """The path `name` beside `target`; UserError where that is the folder one works in, or above it."""
    if Path.cwd().is_relative_to(target.resolve()):
        raise UserError(f"{target}: is the folder that you work in, or holds it; name a new one to write to")
    return target.with_name(name)


def no_room(error: Exception) -> bool:
    """Whether an error says that the disk, or a quota, is full."""
    return isinstance(error, OSError) and error.errno in NO_ROOM


@contextmanager
def _naming(target: Path) -> Iterator[None]:
    """Raise errors of the system again with `target` as their file: write() itself names none."""
    try:
        yield
    except OSError as error:
        hidden = str(error.filename or "").startswith(str(target.with_name(f".{target.name}.")))
        if no_room(error) or (error.errno is not None and (error.filename is None or hidden)):
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise


def _replace(target: Path, temporary: Path) -> None:
    if temporary.is_dir():
        remove(target)
    temporary.replace(target)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write `text` to `target` atomically, as UTF-8."""
    with atomic(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; UserError if the file is missing or is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the step that makes it first") from None
    except OSError as error:
        if of_system(error):
            raise
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, endless numbers, too deeply nested
        raise UserError(f"{path}: not valid JSON ({error}); make it again") from None


def sha256(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Content:
    """What lies at `path`: its sha256 and, of a folder, the list of its files that this is the sha256 of.

    The list reads as `sha256sum` writes it, sorted by name; both are None where nothing lies.
    """

    path: Path
    sha256: str | None
    files: str | None = None


def content(path: Path) -> Content:
    """Read and hash the file, or every file of the folder, at `path`, each once.

    Names that start with a dot are left out: they belong to the tools, not to the data.
    """
    if not path.is_dir():
        return Content(path, sha256(path) if path.exists() else None)
    files = listing({name: sha256(path / name) for name in names(path)})
    return Content(path, hashlib.sha256(os.fsencode(files)).hexdigest(), files)


def names(folder: Path) -> list[str]:
    """The files at any depth below `folder`, sorted, but for those that start with a dot."""
    return sorted(walk(folder))


def everything(folder: Path) -> list[str]:
    """The files that go with `folder` when it is removed, sorted: hidden ones too, but none behind a link."""
    found = [Path(place, file) for place, _, files in os.walk(folder) for file in files]
    return sorted(file.relative_to(folder).as_posix() for file in found)


def walk(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
    """The files of `names`, in no order. Links are followed, but for those to a folder `above` them."""
    state = folder.stat()
    here = (state.st_dev, state.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        shown = [entry for entry in entries if not entry.name.startswith(".")]
    for entry in shown:
        if entry.is_symlink() and not Path(entry.path).exists():
            continue
        if entry.is_dir():
            yield from (f"{entry.name}/{name}" for name in walk(folder / entry.name, above | {here}))
        elif entry.is_file():
            yield entry.name


def listing(sums: Mapping[str, str]) -> str:
    """name -> sha256 as the lines of `sha256sum`."""
    return "".join(_line(name, digest) for name, digest in sums.items())


def read_listing(text: str) -> dict[str, str]:
    """The name -> sha256 of `listing`."""
    sums = {}
    for line in text.split("\n")[:-1]:
        digest, _, name = line.partition("  ")
        if digest.startswith("\\"):
            digest, name = digest[1:], re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], name)
        sums[name] = digest
    return sums


def sha256_tree(path: Path) -> str:
    """The sha256 of a file, or of a folder's list of files; FileNotFoundError where nothing lies."""
    found = content(path).sha256
    if found is None:
        raise FileNotFoundError(path)
    return found


def _line(name: str, digest: str) -> str:
    if "\\" in name or "\n" in name:
        digest, name = f"\\{digest}", name.replace("\\", "\\\\").replace("\n", "\\n")
    return f"{digest}  {name}\n"
