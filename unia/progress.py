"""What a long step tells its user: lines, and a bar with a count and the time left.

On a terminal `track` draws a bar; elsewhere, and in the file of `log_to`, it writes plain lines.
"""

import time
import weakref
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from unia.errors import UserError, without_passwords

T = TypeVar("T")

TIME = "%Y-%m-%d %H:%M:%S"
STEP = 0.1  # plain lines: one for each tenth of the work ...
SECONDS = 30.0  # ... and one at least this often

_console = Console(stderr=True, highlight=False)
_log: Path | None = None


def say(message: str) -> None:
    """Show one line to the user, and keep it in the log; passwords of addresses are left out."""
    message = without_passwords(message)
    _console.print(message, markup=False, soft_wrap=True)
    _write(message)


@contextmanager
def log_to(path: Path | None) -> Iterator[None]:
    """Everything said or tracked meanwhile is also appended to `path`, with times; None: nowhere.

    UserError where `path` is a file that is no such log.
    """
    global _log
    if path is None:
        yield
        return
    if path.is_file() and path.stat().st_size and not _is_log(path):
        raise UserError(f"{path}: is no log, which would be written at its end; name another file")
    with suppress(OSError):  # which the first line that is written says
        path.parent.mkdir(parents=True, exist_ok=True)
    before, _log = _log, path
    try:
        yield
    finally:
        _log = before


class Tracker(Iterator[T]):
    """Iterates over `items` and shows how far it is; `status` sets a text beside the bar."""

    def __init__(self, items: Iterable[T], description: str, total: int | None = None):
        self._items = iter(items)
        self._description = description
        self._total = len(items) if total is None and isinstance(items, Sized) else total
        self._done = -1  # the item being worked on is not done yet
        self._status = ""
        self._start = self._last_time = time.monotonic()
        self._last_done = 0
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def status(self, text: str) -> None:
        """Text shown beside the progress from now on, for instance the current loss."""
        self._status = text
        if self._bar is not None:
            self._bar.update(self._task, status=text)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        self._advance()
        try:
            return next(self._items)
        except BaseException as end:
            self._finish(complete=isinstance(end, StopIteration))
            raise

    def close(self) -> None:
        """Take the bar off the terminal, where the loop is left early; else it goes by itself."""
        if self._bar is not None:
            self._stop()
            self._bar = None

    def _advance(self) -> None:
        self._done += 1
        if self._done == 0:
            self._start = self._last_time = time.monotonic()
            self._open_bar()
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)
        now = time.monotonic()
        enough = self._total is not None and self._done - self._last_done >= STEP * self._total
        if (enough and self._done != self._total) or now - self._last_time >= SECONDS:
            self._line(now)

    def _finish(self, complete: bool) -> None:
        self.close()
        if complete and self._done > 0:
            self._line(time.monotonic())

    def _open_bar(self) -> None:
        if not _console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            console=_console,
            transient=True,
        )
        self._task = self._bar.add_task(self._description, total=self._total, status=self._status)
        self._bar.start()
        self._stop = weakref.finalize(self, self._bar.stop)  # also after an error, and at exit

    def _line(self, now: float) -> None:
        self._last_time, self._last_done = now, self._done
        spent = now - self._start
        count = f"{self._done}" if self._total is None else f"{self._done}/{self._total}"
        parts = [f"{self._description}: {count}", f"{_clock(spent)} spent"]
        if self._total is not None and self._done < self._total:
            parts.append(f"{_clock(spent / self._done * (self._total - self._done))} left")
        message = ", ".join([*parts, *filter(None, [self._status])])
        if _console.is_terminal and self._done != self._total:
            _write(message)
        else:
            say(message)


def track(items: Iterable[T], description: str, total: int | None = None) -> Tracker[T]:
    """Iterate over `items` showing a count and the time left; `.status(text)` sets a text beside it.

    `total` is the number of items where `items` has no length.
    """
    return Tracker(items, description, total)


def _is_log(path: Path) -> bool:
    """Whether a file begins as `_write` does; one that cannot be read is told when it is written."""
    with suppress(OSError), path.open("rb") as file:
        begin = file.read(len("2000-01-01 00:00:00"))
        try:
            time.strptime(begin.decode(), TIME)
        except ValueError:
            return False
    return True


def _write(message: str) -> None:
    """Append to the log; where that fails, once and for all, the step goes on without one."""
    global _log
    if _log is None:
        return
    try:
        with _log.open("a", encoding="utf-8") as file:
            print(time.strftime(TIME), message, file=file)
    except OSError as error:
        path, _log = _log, None
        say(f"warning: {path} is written no further: {error.strerror}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
