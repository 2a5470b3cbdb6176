"""Archives: fetched with a checksum, unpacked without writing anywhere else."""

import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from unia.errors import UserError
from unia.files import atomic
from unia.progress import track

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz")
CHUNK = 1 << 20
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)
"""What a damaged or encrypted archive raises."""


@dataclass(frozen=True)
class Archive:
    """An official archive: where it is, and what must arrive."""

    url: str
    bytes: int
    md5: str

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def fetch(archive: Archive, folder: Path) -> Path:
    """Download `archive` into `folder`, continuing what an earlier try left; returns its path.

    Raises UserError where the network fails or what arrived is not what it should be.
    """
    target = folder / archive.name
    if target.exists() and target.stat().st_size == archive.bytes:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    have = part.stat().st_size if part.exists() else 0
    try:
        if have < archive.bytes:
            _receive(archive, part, have)
    except (URLError, HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{archive.url}: cannot be fetched ({reason}); run the step again to continue, or set the "
            "dataset's data.source to a folder that holds it"
        ) from None
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != archive.md5:
        bad = target.with_name(f"{target.name}.bad")
        part.replace(bad)
        raise UserError(f"{bad}: md5 is {found}, should be {archive.md5}; delete it and run the step again")
    part.replace(target)
    return target


def _receive(archive: Archive, part: Path, have: int) -> None:
    """Append to `part` what comes after its `have` bytes; OSError where the connection ends too early."""
    request = Request(archive.url, headers={"Range": f"bytes={have}-"} if have else {})
    with urlopen(request, timeout=60) as response, part.open("ab") as file:
        if response.status != 206:  # the server sends it all again
            file.truncate(0)
            have = 0
        for _ in track(range(-(-(archive.bytes - have) // CHUNK)), f"fetch {archive.name} (MiB)"):
            file.write(response.read(CHUNK))
    if part.stat().st_size < archive.bytes:
        raise OSError("the connection ended early")


def is_archive(path: Path) -> bool:
    return path.is_file() and path.name.endswith(SUFFIXES)


def unpack(archives: Mapping[Path, str], target: Path) -> Path:
    """Unpack zip and tar files together into the folder `target`, unless these very files lie there already.

    `archives`: path -> sha256. A zip with files at its top gets a folder of its own name. Raises UserError
    for a broken archive, or one with a member that would land outside or links out.
    """
    origin = target / ".unpacked"
    sums = "".join(f"{sha256} {archive.name}\n" for archive, sha256 in archives.items())
    if origin.exists() and origin.read_text(encoding="utf-8") == sums:
        return target
    with atomic(target) as temporary:
        temporary.mkdir()
        for archive in archives:
            try:
                _extract(archive, temporary)
            except tarfile.FilterError as error:
                raise UserError(f"{archive}: refused, a member would leave its folder ({error})") from None
            except BROKEN as error:
                raise _broken(archive, error) from None
        (temporary / origin.name).write_text(sums, encoding="utf-8")
    return target


def top(archive: Path) -> str:
    """The first part of the path of an archive's first member, for instance VOCdevkit."""
    try:
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(archive) as file:
                names = file.namelist()
        else:
            with tarfile.open(archive) as tar:
                first = tar.next()
                names = [first.name] if first else []
        return names[0].removeprefix("./").split("/")[0]
    except (*BROKEN, IndexError) as error:
        raise _broken(archive, error) from None


def _extract(archive: Path, folder: Path) -> None:
    if archive.name.endswith(".zip"):
        _unzip(archive, folder)
    else:
        with tarfile.open(archive) as tar:
            for member in track(tar, f"unpack {archive.name}"):
                tar.extract(member, folder, filter="data")


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        if any("/" not in member.filename for member in members):
            folder = folder / archive.stem
        root = folder.resolve()
        for member in members:
            if not (root / member.filename).resolve().is_relative_to(root):
                raise UserError(f"{archive}: refused, a member would leave its folder ({member.filename})")
        for member in track(members, f"unpack {archive.name}"):
            file.extract(member, folder)


def _broken(archive: Path, error: Exception) -> UserError:
    return UserError(f"{archive}: cannot be unpacked ({error}); is it complete?")
