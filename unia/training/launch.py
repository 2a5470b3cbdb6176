"""The same command in several processes of this machine, started as torchrun does; only the first one prints.

A process that fails writes its error to the file that torchrun gives it. The launcher then ends the other
processes, and reports that one error.
"""

import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ErrorHandler, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from unia.errors import UserError
from unia.parallel import cores
from unia.system import told

PATIENCE = 20.0  # seconds that a process waits whose peer died, so that the peer's error is reported first
GRACE = 60  # seconds to finish a step and save it
GLANCE = 1.0  # seconds between two looks whether the launcher is there


def launched() -> bool:
    """This process is one of several: torchrun set its RANK."""
    return "RANK" in os.environ


def launch(processes: int) -> None:
    """Run this very command in `processes` processes, and wait for them.

    Raises UserError with the message of the first that failed; SystemExit with 128 + the signal's number
    where they were told to stop.
    """
    os.environ["OMP_NUM_THREADS"] = str(max(1, cores() // processes))  # each its share
    for name in ("torch.distributed.elastic", "torch.distributed.launcher"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # by `nohup`
        os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGTERM,SIGINT,SIGQUIT"
    with tempfile.TemporaryDirectory(prefix="unia-") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id="unia",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            shutdown_timeout=GRACE,
        )
        try:
            elastic_launch(config, sys.executable)("-m", "unia", *sys.argv[1:])
        except ChildFailedError as error:
            _report(list(error.failures.values()))
        except SignalException as error:
            raise SystemExit(128 + error.sigval) from None


@contextmanager
def one_voice() -> Iterator[None]:
    """In one of several processes, write a failure down for the launcher, and exit without printing it."""
    if launched():
        _end_with_launcher()
    try:
        yield
    except (Exception, SystemExit) as error:
        if not launched():
            raise
        first = os.environ["RANK"] == "0"
        if not (_fellow_lost(error) or (isinstance(error, SystemExit) and not first)):
            if isinstance(error, SystemExit):
                raise
            ErrorHandler().record_exception(told(error) or error)
            raise SystemExit(1) from None
        time.sleep(PATIENCE)
        raise SystemExit(1) from None


def _end_with_launcher() -> None:
    """Where the launcher is killed nobody waits for this process any more: it ends too."""
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(GLANCE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _fellow_lost(error: BaseException) -> bool:
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _report(failures: list[ProcessFailure]) -> None:
    for failure in failures:
        told = failure.error_file_data["message"]
        if isinstance(told, dict):
            kind, _, message = told["message"].partition(": ")
            raise UserError(message if kind == UserError.__name__ else f"{kind}: {message}")
    for failure in failures:
        if failure.exitcode < 0:
            raise UserError(
                f"process {failure.local_rank} of the training was ended by {failure.signal_name()}, "
                "perhaps for want of memory; run the step again: it goes on from the last state"
            )
    raise SystemExit(failures[0].exitcode)
