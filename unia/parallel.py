"""The same work on every sample, in as many processes as the step may use cores."""

import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Protocol, TypeVar

import joblib

from unia.errors import UserError
from unia.progress import track


class Named(Protocol):
    """What a message calls by its name."""

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)
R = TypeVar("R")
FOR_WANT_OF_MEMORY = (
    "perhaps for want of memory; free some memory, or allow fewer cores (OMP_NUM_THREADS, or "
    "Snakemake's --set-threads), and run the step again"
)


def for_each(function: Callable[[N], R], samples: Sequence[N], description: str) -> Iterator[R]:
    """Yield `function(sample)` for every sample, in the order of completion; shows progress.

    `function` must be picklable. Raises what it raises, and UserError, naming the sample, where its
    process died.
    """
    # Pools of one process each, so that it is known what a process that died was working on.
    pools = [_pool() for _ in range(min(cores(), len(samples)))]
    waiting = iter(samples)
    running: dict[Future[R], tuple[N, ProcessPoolExecutor]] = {}
    try:
        for pool, sample in zip(pools, waiting, strict=False):
            running[pool.submit(function, sample)] = sample, pool
        for _ in track(samples, description):
            future = wait(running, return_when=FIRST_COMPLETED).done.pop()
            sample, pool = running.pop(future)
            try:
                result = future.result()
            except BrokenProcessPool:
                raise UserError(
                    f"{description}: the process at work on {sample.name} died, {FOR_WANT_OF_MEMORY}"
                ) from None
            following = next(waiting, None)
            if following is not None:
                running[pool.submit(function, following)] = following, pool
            yield result
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)


def cores() -> int:
    """How many cores this process may use.

    The machine, taskset and a container's quota bound them (joblib knows how); so does what Slurm granted,
    and `threads` of Snakemake's rule, which sets OMP_NUM_THREADS.
    """
    granted = (os.environ.get(name, "") for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS"))
    return min([joblib.cpu_count(), *(int(text) for text in granted if re.fullmatch("[1-9][0-9]*", text))])


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_start)


def _start() -> None:
    """In a new process: one thread only, and Ctrl-C is the parent's to handle."""
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
