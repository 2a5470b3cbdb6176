"""One large file from one server, over a line that breaks: continued, never mixed, tried a few times."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import requests
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_exponential_jitter,
)
from urllib3.exceptions import HTTPError

from unia.files import remove
from unia.progress import say

PIECE = 1 << 16
MIB = 1 << 20
BUSY = (408, 425, 429)  # like 5xx: may pass
HOPELESS = (
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.TooManyRedirects,
)


@dataclass(frozen=True)
class Patience:
    """How long a server is tried: `tries` in a row that bring less than a MiB each; times in seconds.

    Between tries it waits `wait`, doubled each time up to `longest`, plus by chance up to `wait`. A
    connection that brings less than 64 KiB in `stall` counts as broken.
    """

    tries: int = 6
    wait: float = 1.0
    longest: float = 60.0
    stall: float = 60.0


class Refused(Exception):
    """This server won't do, however often it is asked."""


class Broken(Exception):
    """This server may do better next time."""


class Transfer:
    """The file of `size` bytes at `url`, received into `part`; beside that, `<part>.from` says of what.

    `report` is told how many bytes are there; `stop` ends it soon after it is set.
    """

    def __init__(
        self, url: str, part: Path, size: int, patience: Patience, report: Callable[[int], None], stop: Event
    ):
        self._url, self._part, self._size = url, part, size
        self._patience, self._report, self._stop = patience, report, stop
        self._origin = origin(part)
        self.joined = False
        """Whether pieces were joined without the server's word that they are of one version."""

    def run(self) -> None:
        """Receive all that is still missing. Raises Refused, or Broken when patience ends."""
        patience = self._patience
        while self._have() < self._size:  # a try that brought something begins a new series
            Retrying(
                retry=retry_if_exception_type(Broken),
                wait=wait_exponential_jitter(patience.wait, patience.longest, jitter=patience.wait),
                stop=stop_after_attempt(patience.tries) | stop_when_event_set(self._stop),
                sleep=sleep_using_event(self._stop),
                before_sleep=self._tell,
                reraise=True,
            )(self._try)

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        following = f"try {state.attempt_number + 1} of {self._patience.tries}"
        say(f"{self._url}: {error}; {following} in {state.upcoming_sleep:.0f} s")

    def _try(self) -> None:
        """One connection; Broken where it ends early and brought little."""
        before = self._have()
        try:
            self._receive(before)
        except HOPELESS as error:
            raise Refused(_reason(error)) from None
        except (requests.RequestException, HTTPError, Broken) as error:
            if self._stop.is_set() or self._have() - before < MIB:
                raise Broken(_reason(error)) from None
            say(f"{self._url}: {_reason(error)}; goes on after {self._have() // MIB} MiB")

    def _receive(self, have: int) -> None:
        """Append to the part what the server has after its first `have` bytes."""
        address, version = _read(self._origin)
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        if have and version and address == self._url:
            headers["If-Range"] = version  # of another version, the server sends everything
        with requests.get(self._url, headers=headers, stream=True, timeout=self._patience.stall) as response:
            if self._start(response, have) == 0:
                if have:
                    say(f"{self._url}: is not what it was, or cannot be continued; starts from its beginning")
                self._begin(_version(response))
            elif "If-Range" not in headers:
                self.joined = True
            elif _version(response) not in ("", version):
                remove(self._part)
                raise Broken("it has changed")
            with self._part.open("ab") as file:
                for piece in self._pieces(response):
                    file.write(piece)
                    file.flush()  # it counts, however this process ends
                    self._report(file.tell())
        if self._have() < self._size:
            raise Broken("the connection ended early")
        if self._have() > self._size:
            remove(self._part)
            raise Refused(f"sends more than the {self._size} bytes it should be")

    def _start(self, response: requests.Response, have: int) -> int:
        """The byte that the answer starts at, `have` or 0; raises what is wrong with the answer."""
        status = response.status_code
        if status in BUSY or status >= 500:
            raise Broken(f"HTTP {status} {response.reason}")
        if status not in (200, 206, 416):
            raise Refused(f"HTTP {status} {response.reason}")
        start, total = 0, response.headers.get("Content-Length")
        if status == 206:
            said = re.match(r"bytes (\d+)-\d+/(\d+|\*)$", response.headers.get("Content-Range", ""))
            start, total = (int(said[1]), said[2]) if said else (-1, None)
        if status == 416 or start not in (0, have):
            remove(self._part)
            raise Broken("it cannot be continued")
        if total not in (None, "*", str(self._size)):
            raise Refused(f"is {total} bytes, should be {self._size}: another file")
        return start

    def _begin(self, version: str) -> None:
        """An empty part; where from and of which version it will be."""
        self._part.write_bytes(b"")
        self._origin.write_text(f"{self._url}\n{version}\n", encoding="utf-8")
        self.joined = False

    def _pieces(self, response: requests.Response) -> Iterator[bytes]:
        """The body as it arrives, at most a piece more than should come."""
        stall, have, since, last = self._patience.stall, self._have(), 0, time.monotonic()
        while have <= self._size and (piece := response.raw.read1(PIECE, decode_content=False)):
            have, since, now = have + len(piece), since + len(piece), time.monotonic()
            yield piece
            if self._stop.is_set():
                raise Broken("stopped")
            if since >= PIECE:
                since, last = 0, now
            elif now - last > stall:
                raise Broken(f"less than 64 KiB came in {stall:g} s")

    def _have(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0


def origin(part: Path) -> Path:
    """The file that says where from and of which version `part` is."""
    return part.with_name(f"{part.name}.from")


def _read(path: Path) -> tuple[str, str]:
    """(address, version) of a part; empty where unknown."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return (lines[0], lines[1]) if len(lines) == 2 else ("", "")


def _version(response: requests.Response) -> str:
    """What tells versions of a file apart (RFC 9110, 13.1.5): a strong ETag, or else the date."""
    etag = response.headers.get("ETag", "")
    return response.headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag


def _reason(error: Exception) -> str:
    """What went wrong, beneath the wrappings of requests and urllib3."""
    cause = error.args[0] if error.args else error
    return " ".join(str(getattr(cause, "reason", cause)).split()) or type(error).__name__
