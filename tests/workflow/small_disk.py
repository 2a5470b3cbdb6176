"""Small file systems that can be filled."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@contextmanager
def small_disks(*folders: Path) -> Iterator[None]:
    """File systems of 20 MB at new `folders`; skips the test where this user may mount none."""
    try:
        for folder in folders:
            folder.mkdir(parents=True)
            mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)]
            done = subprocess.run(mount, capture_output=True, text=True)
            if done.returncode != 0:
                pytest.skip(f"no file system can be mounted ({done.stderr.strip()}); try unshare -rm")
        yield
    finally:
        for folder in folders:
            if folder.is_mount():
                subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(disk: Path, left: int = 0) -> Iterator[None]:
    """Meanwhile only so many bytes of `disk` are left."""
    filler = disk / "filler"
    for again in range(9, -1, -1):  # something may write meanwhile, and need what was counted as free
        try:
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, _free(disk) - left))
            break
        except OSError:
            if not again:
                raise
    assert _free(disk) <= left
    try:
        yield
    finally:
        filler.unlink()


def _free(disk: Path) -> int:
    about = os.statvfs(disk)
    return about.f_bavail * about.f_frsize


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Meanwhile nothing can be written on `disk`, which `small_disks` made."""
    remount = ["mount", "-o"]
    subprocess.run([*remount, "remount,ro", str(disk)], check=True)
    try:
        yield
    finally:
        subprocess.run([*remount, "remount,rw", str(disk)], check=True)


@contextmanager
def another_user() -> Iterator[None]:
    """Meanwhile root has no more rights than an ordinary user; others have few enough."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def visible(disk: Path) -> dict[str, int]:
    """The files that are neither a tool's, nor unfinished work, nor the filler, and their sizes."""
    files = {path.relative_to(disk): path.stat().st_size for path in disk.rglob("*") if path.is_file()}
    return {
        str(path): size
        for path, size in files.items()
        if path.name != "filler" and not any(part.startswith(".") for part in path.parts)
    }
