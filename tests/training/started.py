"""`unia train` as a program of its own, on the tiny dataset: to be watched, and killed."""

import fcntl
import os
import pty
import subprocess
import sys
import termios
import time
from pathlib import Path

from tiny import ROOT, SETTINGS

SHARED = ("small.train.accumulate=2", "small.train.iterations=20", "small.train.log_every=1")
"""Twenty iterations whose batches two processes can share."""


def command(data: Path, out: Path, *settings: str, processes: int = 1) -> subprocess.Popen[str]:
    """`unia train` in the folder of `out`, which it leads a group of its own."""
    return subprocess.Popen(
        _line(data, out, processes), cwd=out.parent, env=_environment(*settings), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def in_terminal(data: Path, out: Path, *settings: str) -> tuple[subprocess.Popen[str], int]:
    """(the same in a terminal of its own; the other end of this, which is lost when it is closed)."""
    terminal, end = pty.openpty()
    training = subprocess.Popen(
        _line(data, out, 1), cwd=out.parent, env=_environment(*settings), text=True,
        stdin=end, stdout=end, stderr=end, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(end, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(end)
    return training, terminal


def _line(data: Path, out: Path, processes: int) -> list[str]:
    line = [sys.executable, "-m", "unia", "train", "shapes", "--params", str(ROOT / "params.yaml")]
    return [*line, "--data", str(data), "--out", str(out), "--processes", str(processes)]


def _environment(*settings: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "UNIA_SET": "\n".join([*SETTINGS, *settings])}


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=600)
    return said


def saved(out: Path) -> int:
    """The iteration of the newest state."""
    return max((int(path.stem) for path in out.parent.glob(f"{out.name}.state/*/0*.safetensors")), default=0)


def wait_for(out: Path, iteration: int, process: subprocess.Popen[str]) -> None:
    while saved(out) < iteration:
        assert process.poll() is None, finish(process)
        time.sleep(0.01)
