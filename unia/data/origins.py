"""Where raw data comes from: a source that the user names, or official archives."""

from collections.abc import Sequence
from pathlib import Path

from unia.data import official
from unia.data.archives import is_archive, unpacked
from unia.data.fetch import Archive, check, fetch
from unia.progress import say

UNPACKED = "unpacked"
"""The folder that archives are unpacked to, beside the one they are fetched to."""


def given(source: Path) -> list[Path]:
    """The archive or folder `source`, and the archives in the folder that have not been unpacked there."""
    if is_archive(source):
        return [_checked(source)]
    archives = [path for path in sorted(source.iterdir()) if is_archive(path)]
    packed = [_checked(path) for path in archives if not unpacked(path, source)]
    others = any(path.is_dir() and not path.name.startswith(".") for path in source.iterdir())
    return packed + ([source] if others or not packed else [])


def fetched(archives: Sequence[Archive], folder: Path, mirrors: Sequence[str]) -> list[Path]:
    """The official `archives`, fetched into `folder`/archives."""
    unpacked = sum(archive.bytes for archive in archives)  # images and labels are compressed already
    spare = 0 if (folder / UNPACKED).exists() else unpacked
    return fetch(list(archives), folder / "archives", mirrors, spare)


def _checked(path: Path) -> Path:
    """An archive of the user's; under an official name it must be the official one."""
    for archive in official.ALL:
        if path.name == archive.name:
            say(f"check {path}")
            check(path, archive)
    return path
