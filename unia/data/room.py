"""Room on the disk, asked for before it is needed."""

import shutil
from pathlib import Path

from unia.errors import UserError

GB = 1e9


def require_room(folder: Path, needed: int, spare: int = 0) -> None:
    """UserError unless `needed` + `spare` bytes are free on the disk where `folder` is, or will be.

    `folder` lies in that of a dataset's raw data; `spare` is what unpacking will take.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed + spare > free:
        parts = f" ({needed / GB:.1f} to fetch, about {spare / GB:.1f} to unpack)" if spare else ""
        raise UserError(
            f"{folder}: needs {(needed + spare) / GB:.1f} GB{parts}, the disk has {free / GB:.1f} GB free; "
            f"make room, or make {folder.parent} a link to a folder on a larger disk"
        )
