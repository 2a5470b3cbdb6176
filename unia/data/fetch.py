"""Archives, several at a time, from the first source that has them, checked before anything uses them."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from urllib.parse import urlsplit
from urllib.request import url2pathname

from unia.data.room import require_room
from unia.data.transfer import MIB, Broken, Patience, Refused, Transfer, origin
from unia.errors import UserError
from unia.files import remove
from unia.progress import say, track

AT_ONCE = 3  # files; more would gain little and burden the servers

Reports = SimpleQueue[tuple[str, int] | None]
"""(name of an archive, bytes of it that are there), and None when one has ended."""


@dataclass(frozen=True)
class Archive:
    """An official archive: where it is, first choice first, and what must arrive."""

    urls: tuple[str, ...]
    bytes: int
    md5: str

    @property
    def name(self) -> str:
        return self.urls[0].rsplit("/", 1)[-1]


def fetch(
    archives: Sequence[Archive],
    folder: Path,
    mirrors: Sequence[str] = (),
    spare: int = 0,
    patience: Patience | None = None,
) -> list[Path]:
    """Where each of `archives` lies, size and md5 checked: in `folder`, or behind a file:// address.

    Sources in order: `mirrors` (http, https or file addresses of folders), then the archive's own. What an
    earlier try left is continued. `spare` bytes of the disk must stay free for what comes after.
    Raises UserError for a disk too small, before the first byte, and for what no source has, when all
    others are there.
    """
    stop, reports = Event(), Reports()
    fetches = [_Fetch(a, folder, mirrors, patience or Patience(), stop, reports) for a in archives]
    missing = [one for one in fetches if not one.is_there()]
    have = {one.archive.name: one.have() for one in missing}
    left = sum(one.archive.bytes for one in missing) - sum(have.values())
    require_room(folder, sum(one.archive.bytes - one.have() for one in missing if not one.is_near()), spare)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(one.run) for one in missing]
        for future in futures:
            future.add_done_callback(lambda _: reports.put(None))
        try:
            arriving = _mebibytes(reports, have, len(futures))
            for _ in track(arriving, f"fetch {', '.join(have)} (MiB)", left // MIB):
                pass
        finally:  # Ctrl-C too
            stop.set()
    _raise_any(futures)
    return [one.path for one in fetches]


def check(path: Path, archive: Archive) -> None:
    """UserError unless the file at `path` is `archive`."""
    if wrong := _wrong(path, archive):
        raise UserError(
            f"{path}: {wrong}; copy it again, or rename it if it isn't meant to be the official one"
        )


class _Fetch:
    """The fetching of one archive."""

    def __init__(
        self,
        archive: Archive,
        folder: Path,
        mirrors: Sequence[str],
        patience: Patience,
        stop: Event,
        reports: Reports,
    ):
        self.archive, self._patience, self._stop, self._reports = archive, patience, stop, reports
        self.path = folder / archive.name
        self._part = folder / f"{archive.name}.part"
        self._bad = folder / f"{archive.name}.bad"
        self._sources = [f"{mirror.rstrip('/')}/{archive.name}" for mirror in mirrors] + list(archive.urls)

    def is_there(self) -> bool:
        """Whether the archive is there, whole; what is not is put aside."""
        if self._part.exists() and self.have() > self.archive.bytes:
            remove(self._part)
        if not self.path.exists():
            return False
        say(f"check {self.path}")
        wrong = _wrong(self.path, self.archive)
        if wrong:
            self.path.replace(self._bad)
            say(f"{self.path}: {wrong}; kept as {self._bad}, and fetched again")
        return not wrong

    def have(self) -> int:
        """Bytes that an earlier try brought."""
        return self._part.stat().st_size if self._part.exists() else 0

    def is_near(self) -> bool:
        """Whether a file:// address has it, so that it needs no room here."""
        return any(_local(url).is_file() for url in self._sources if url.startswith("file:"))

    def run(self) -> None:
        """Try the sources in order; UserError with every reason if none will do."""
        reasons: list[str] = []
        for url in self._sources:
            try:
                self.path = self._near(url) if url.startswith("file:") else self._far(url)
                return
            except (Refused, Broken) as error:
                if self._stop.is_set():
                    return
                reasons.append(f"{url}: {error}")
                say(f"cannot fetch {reasons[-1]}")
            except OSError as error:
                raise UserError(f"{self._part}: cannot be written ({error.strerror or error})") from None
        raise UserError(
            f"{self.archive.name}: cannot be fetched ({'; '.join(reasons)}); run the step again, name "
            "a mirror in the dataset's data.mirrors, or a folder that holds its archives in data.source"
        )

    def _near(self, url: str) -> Path:
        """The file itself, used where it is."""
        path = _local(url)
        if not path.is_file():
            raise Refused("no such file")
        if wrong := _wrong(path, self.archive):
            raise Refused(wrong)
        return path

    def _far(self, url: str) -> Path:
        """The file from a server: once more from its beginning if its pieces may not belong together."""
        self._part.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            transfer = Transfer(
                url, self._part, self.archive.bytes, self._patience,
                lambda there: self._reports.put((self.archive.name, there)), self._stop,
            )  # fmt: skip
            transfer.run()
            wrong = _wrong(self._part, self.archive)
            remove(origin(self._part))
            if not wrong:
                target = self._part.with_suffix("")
                self._part.replace(target)
                return target
            self._part.replace(self._bad)
            if not transfer.joined:
                break
            say(f"{url}: {wrong}; received in pieces that may differ, so once more from its beginning")
        raise Refused(f"{wrong}; kept as {self._bad}")


def _local(url: str) -> Path:
    return Path(url2pathname(urlsplit(url).path))


def _wrong(path: Path, archive: Archive) -> str | None:
    """What is wrong with the file at `path`, if it isn't `archive`."""
    size = path.stat().st_size
    if size != archive.bytes:
        return f"is {size} bytes, should be {archive.bytes}"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    return None if found == archive.md5 else f"md5 is {found}, should be {archive.md5}"


def _mebibytes(reports: Reports, have: Mapping[str, int], running: int) -> Iterator[None]:
    """An item for each MiB more than `have`, until all have ended; what comes again counts once."""
    there, told = dict(have), 0
    while running:
        report = reports.get()
        if report is None:
            running -= 1
            continue
        name, position = report
        there[name] = max(there[name], position)
        while told < (sum(there.values()) - sum(have.values())) // MIB:
            told += 1
            yield


def _raise_any(futures: Sequence[Future[None]]) -> None:
    """All UserErrors of `futures` as one; anything else as it is."""
    errors = [error for future in futures if (error := future.exception())]
    for error in errors:
        if not isinstance(error, UserError):
            raise error
    if errors:
        raise UserError("; ".join(map(str, errors)))
