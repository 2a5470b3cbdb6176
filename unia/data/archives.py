"""Archives: fetched with a checksum, unpacked without writing anywhere else."""

import hashlib
import tarfile
import zipfile
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
    request = Request(archive.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urlopen(request, timeout=60) as response, part.open("ab" if have else "wb") as file:
            if have and response.status != 206:  # the server sends it all again
                file.truncate(0)
                have = 0
            for _ in track(range(-(-(archive.bytes - have) // CHUNK)), f"fetch {archive.name} (MiB)"):
                file.write(response.read(CHUNK))
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


def is_archive(path: Path) -> bool:
    return path.is_file() and path.name.endswith(SUFFIXES)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a zip or tar file into `folder`/<its name without ending>, unless it is there already.

    Raises UserError for a broken archive, or one with a member that would land outside or links out.
    """
    target = folder / archive.name.removesuffix(".gz").removesuffix(
        Path(archive.name.removesuffix(".gz")).suffix
    )
    if target.exists():
        return target
    with atomic(target) as temporary:
        temporary.mkdir()
        try:
            if archive.name.endswith(".zip"):
                _unzip(archive, temporary)
            else:
                with tarfile.open(archive) as tar:
                    for member in track(tar, f"unpack {archive.name}"):
                        tar.extract(member, temporary, filter="data")
        except tarfile.FilterError as error:
            raise UserError(f"{archive}: refused, a member would leave its folder ({error})") from None
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
            raise UserError(f"{archive}: cannot be unpacked ({error}); is it complete?") from None
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
