"""Archives: fetched with a checksum, unpacked without writing anywhere else."""

import hashlib
import tarfile
import zipfile
import zlib
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


def unpack(archive: Path, sha256: str, folder: Path) -> Path:
    """Unpack a zip or tar file into `folder`/<its name without ending>, unless this very file was already.

    Raises UserError for a broken archive, or one with a member that would land outside or links out.
    """
    ending = next(ending for ending in SUFFIXES if archive.name.endswith(ending))
    target = folder / archive.name.removesuffix(ending)
    origin = target / ".unpacked"
    if origin.exists() and origin.read_text(encoding="utf-8") == sha256:
        return target
    with atomic(target) as temporary:
        temporary.mkdir()
        try:
            if ending == ".zip":
                _unzip(archive, temporary)
            else:
                with tarfile.open(archive) as tar:
                    for member in track(tar, f"unpack {archive.name}"):
                        tar.extract(member, temporary, filter="data")
        except tarfile.FilterError as error:
            raise UserError(f"{archive}: refused, a member would leave its folder ({error})") from None
        except BROKEN as error:
            raise UserError(f"{archive}: cannot be unpacked ({error}); is it complete?") from None
        (temporary / origin.name).write_text(sha256, encoding="utf-8")
    return target


def _unzip(archive: Path, folder: Path) -> None:
    root = folder.resolve()
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        for member in members:
            if not (root / member.filename).resolve().is_relative_to(root):
                raise UserError(f"{archive}: refused, a member would leave its folder ({member.filename})")
        for member in track(members, f"unpack {archive.name}"):
            file.extract(member, folder)
