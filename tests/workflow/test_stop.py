"""Training that is told to stop in the middle of the workflow, as a cluster does."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from project import Project

pytest_plugins = "computed"
pytestmark = pytest.mark.slow

STATE = "results/shapes/train.state"
MODEL = "results/shapes/train/checkpoint.safetensors"
LONG = ("small.train.iterations=40", "small.train.save_every=1000")


def test_sigterm_saves_the_rule_fails_and_the_next_run_goes_on(by_snakemake: Project, tmp_path: Path) -> None:
    project = by_snakemake.copy(tmp_path)
    project.set(*LONG)
    kept = set((tmp_path / STATE).glob("*/*"))  # of the training that is done
    log = tmp_path / "logs" / "shapes" / "train.log"
    snakemake = subprocess.Popen(
        ["snakemake", "--cores", "1", MODEL], cwd=project.folder, env=project.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    while not (log.exists() and "train: 4/40" in log.read_text()):
        assert snakemake.poll() is None, snakemake.communicate()[0]
        time.sleep(0.05)
    (training,) = (
        child.pid
        for child in psutil.Process(snakemake.pid).children(recursive=True)
        if "train" in child.cmdline() and child.name() != "bash"
    )
    os.kill(training, signal.SIGTERM)
    asked = time.monotonic()
    while not (states := set((tmp_path / STATE).glob("*/0*.safetensors")) - kept):
        assert time.monotonic() - asked < 10
        time.sleep(0.05)
    seconds = time.monotonic() - asked
    said, _ = snakemake.communicate(timeout=120)
    print(f"saved {seconds:.2f} s after SIGTERM")
    assert snakemake.returncode != 0
    assert "train: stopped by SIGTERM at iteration" in said
    assert not (tmp_path / MODEL).exists()

    iteration = int(states.pop().stem)
    assert 4 <= iteration < 40
    assert f"goes on from iteration {iteration}" in project.ok("snakemake", "--cores", "1", MODEL)
    assert (tmp_path / MODEL).exists()
    assert [path.stem for path in (tmp_path / STATE).glob("*/*")] == ["00000040"]


def test_what_snakemake_has_not_noted_as_whole_is_made_again(tmp_path: Path) -> None:
    """Killed when the output is there and the rule has not ended yet."""
    project, raw = Project(tmp_path / "project"), "data/raw/shapes.json"
    snakemake = subprocess.Popen(
        ["snakemake", "--cores", "1", raw], cwd=project.folder, env=project.environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while not (project.folder / raw).exists():
        assert snakemake.poll() is None
        time.sleep(0.005)
    os.killpg(snakemake.pid, signal.SIGKILL)
    snakemake.wait()
    project.ok("snakemake", "--unlock")
    assert project.rules(raw) == ["download"]
