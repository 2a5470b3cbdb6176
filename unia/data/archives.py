"""Archives, unpacked without writing anywhere else, whole or not at all."""

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from unia.data.room import require_room
from unia.errors import UserError
from unia.files import atomic
from unia.progress import track
from unia.system import of_system

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz")
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)
"""What a damaged or encrypted archive raises."""


def is_archive(path: Path) -> bool:
    return path.is_file() and path.name.endswith(SUFFIXES)


def unpack(archives: Mapping[Path, str], target: Path) -> Path:
    """Unpack zip and tar files together into the folder `target`, unless these very files lie there already.

    `archives`: path -> sha256. A zip with files at its top gets a folder of its own name. Raises UserError
    for a broken archive, one larger than the disk, and one with a member that would land outside, links out,
    or is no plain file.
    """
    stamp = target / ".unpacked"
    sums = "".join(f"{sha256} {archive.name}\n" for archive, sha256 in archives.items())
    if stamp.exists() and stamp.read_text(encoding="utf-8") == sums:
        return target
    stamp.unlink(missing_ok=True)  # from here on, what lies there may be half removed
    with atomic(target) as temporary:
        temporary.mkdir()
        for archive in archives:
            try:
                (_unzip if archive.name.endswith(".zip") else _untar)(archive, temporary)
            except tarfile.FilterError as error:
                raise _refused(archive, str(error)) from None
            except BROKEN as error:
                if of_system(error):
                    raise
                raise _broken(archive, error) from None
        (temporary / stamp.name).write_text(sums, encoding="utf-8")
    return target


def unpacked(archive: Path, folder: Path) -> bool:
    """Whether every file of the archive lies in `folder` already, or in a folder of its own name there.

    Hidden files don't count, nor what macOS adds. UserError for a broken archive.
    """
    try:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as file:
                members = [member.filename for member in file.infolist() if not member.is_dir()]
        else:
            with tarfile.open(archive) as tar:
                members = [member.name for member in tar if member.isfile()]
    except BROKEN as error:
        if of_system(error):
            raise
        raise _broken(archive, error) from None
    paths = [PurePosixPath(member) for member in members]
    paths = [path for path in paths if not any(part.startswith((".", "__MACOSX")) for part in path.parts)]
    suffix = next(suffix for suffix in SUFFIXES if archive.name.endswith(suffix))
    places = (folder, folder / archive.name.removesuffix(suffix))
    return any(all((place / path).exists() for path in paths) for place in places)


def _untar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        for member in members:
            _stays(archive, member.name)
            if member.islnk() or member.issym():
                _stays(archive, member.linkname)
        require_room(folder, sum(member.size for member in members))
        for member in track(members, f"unpack {archive.name}"):
            tar.extract(member, folder, filter="data")  # refuses devices


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        for member in members:
            _stays(archive, member.filename)
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, f"{member.filename!r} is a link or a device")
        require_room(folder, sum(member.file_size for member in members))
        if any("/" not in member.filename for member in members):
            folder = folder / archive.stem
        for member in track(members, f"unpack {archive.name}"):
            file.extract(member, folder)


def _stays(archive: Path, name: str) -> None:
    """UserError for a name, or a link's target, that could lead out: absolute, or with a .. in it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise _refused(archive, f"{name!r} would lead out of its folder")


def _refused(archive: Path, reason: str) -> UserError:
    return UserError(f"{archive}: refused, {reason}; get it from its official source")


def _broken(archive: Path, error: Exception) -> UserError:
    return UserError(f"{archive}: cannot be unpacked ({error}); is it complete?")
