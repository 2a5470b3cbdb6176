"""`unia train` as a program of its own, on the tiny dataset: to be watched, and killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tiny import ROOT, SETTINGS

SHARED = ("small.train.accumulate=2", "small.train.iterations=20", "small.train.log_every=1")
"""Twenty iterations whose batches two processes can share."""


def command(data: Path, out: Path, *settings: str, processes: int = 1) -> subprocess.Popen[str]:
    """`unia train` in the folder of `out`, which it leads a group of its own."""
    line = [sys.executable, "-m", "unia", "train", "shapes", "--params", str(ROOT / "params.yaml")]
    line += ["--data", str(data), "--out", str(out), "--processes", str(processes)]
    given = "\n".join([*SETTINGS, *settings])
    return subprocess.Popen(
        line, cwd=out.parent, env={**os.environ, "PYTHONPATH": str(ROOT), "UNIA_SET": given}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


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
