"""`unia train`, ended by signals and by its own processes, as one process and as two."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from started import SHARED, command, finish, wait_for
from tiny import files, prepared

pytestmark = [pytest.mark.slow, pytest.mark.faults]
LONG = (*SHARED, "small.train.iterations=40")  # the end is far from the last signal, also on a busy machine


def test_ended_five_times_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Of one process and of two: what one began the other ends."""
    data, out, alone = prepared(tmp_path / "tiny"), tmp_path / "train", tmp_path / "alone"
    undisturbed = command(data, alone, *LONG)
    said = finish(undisturbed)
    assert undisturbed.returncode == 0, said
    for at, number, processes in (
        (1, signal.SIGKILL, 1),
        (5, signal.SIGTERM, 1),
        (9, signal.SIGTERM, 2),
        (13, signal.SIGKILL, 1),
        (17, signal.SIGKILL, 2),
    ):
        process = command(data, out, *LONG, "small.train.save_every=1", processes=processes)
        wait_for(out, at, process)
        os.killpg(process.pid, number)
        said = finish(process)
        assert process.returncode == (-9 if number == signal.SIGKILL else 143), said
        if number == signal.SIGTERM:
            assert said.count("train: stopped by SIGTERM at iteration") == 1
        assert "Traceback" not in said
        assert not out.exists()
    process = command(data, out, *LONG)
    said = finish(process)
    assert process.returncode == 0, said
    went_on = int(said.split("train: goes on from iteration ")[1].split(",")[0])
    print(f"the last run went on from iteration {went_on} of 40")
    assert went_on >= 17
    assert files(out) == files(alone)


def test_a_process_that_is_killed_ends_all(tmp_path: Path) -> None:
    data, out = prepared(tmp_path / "tiny"), tmp_path / "train"
    process = command(data, out, *SHARED, "small.train.save_every=1", processes=2)
    wait_for(out, 2, process)
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(children[-1]), signal.SIGKILL)
    said = finish(process)
    assert process.returncode == 1
    assert said.count("unia: ") == 1
    assert "of the training was ended by SIGKILL" in said


def test_a_failure_while_workers_read_does_not_hang(tmp_path: Path) -> None:
    """They ignore SIGTERM while training goes on, and must end all the same."""
    process = command(
        prepared(tmp_path / "tiny"),
        tmp_path / "train",
        "small.train.workers=2",
        "small.train.lr=1.0",
        "small.train.weight_decay=1.0e+9",
    )
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "unia: training diverged: " in said
