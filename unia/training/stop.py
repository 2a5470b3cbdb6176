"""A wish to stop (SIGTERM of Slurm, Ctrl-C) waits for the end of the step."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """`signal`: the one that asked this process to stop, 0 while none has."""

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number


class Stopped(SystemExit):
    """Training has stopped as asked, its state saved; exits with 128 + the signal's number, as shells do."""

    def __init__(self, number: int, iteration: int):
        super().__init__(128 + number)
        self.signal = signal.Signals(number).name
        self.iteration = iteration


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Meanwhile SIGTERM and SIGINT are only noted. (They may come twice: to the group and to the process.)"""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
