"""A wish to stop (SIGTERM of Slurm, Ctrl-C, SIGHUP of a lost terminal) waits for the end of the step."""

import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stop:
    """`signal`: the one that asked this process to stop, 0 while none has."""

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number
        if number == signal.SIGHUP:
            _leave_terminal()


class Stopped(SystemExit):
    """Training has stopped as asked, its state saved; exits with 128 + the signal's number, as shells do."""

    def __init__(self, number: int, iteration: int):
        super().__init__(128 + number)
        self.signal = signal.Signals(number).name
        self.iteration = iteration


def _leave_terminal() -> None:
    """Show nothing more where a terminal was: it is gone, and writing to it would be an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for shown in (1, 2):
        if stat.S_ISCHR(os.fstat(shown).st_mode):
            os.dup2(nowhere, shown)
    os.close(nowhere)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Meanwhile these signals are only noted. (They may come twice: to the group and to the process.)

    `nohup` has SIGHUP ignored, which stays so.
    """
    stop = Stop()
    kept = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    before = {number: signal.signal(number, stop) for number in SIGNALS if number not in kept}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
