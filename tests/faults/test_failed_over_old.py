"""A step that ends badly where older results stand: the same command then makes what was asked for.

From a finished table, parameters are changed that concern a step. It fails, is killed, is stopped or finds
the disk full, each step in turn; then the same command is typed again, in Snakemake and in DVC. The table is
that of an undisturbed run, and every receipt behind it agrees.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from computed import once
from project import TABLE, Project
from small_disk import filled, small_disks

from unia.files import alone

pytest_plugins = "computed"
pytestmark = [pytest.mark.slow, pytest.mark.faults]

CHANGES = {  # step: a setting that makes it run again, it or one before it
    "download": "datasets.shapes.data.seed=1",
    "prepare": "datasets.shapes.data.seed=1",
    "train": "small.train.iterations=8",
    "infer": "small.infer.scales=[1]",
    "crf": "recipe.crf.iterations=0",
    "score": "recipe.crf.iterations=0",
    "table": "recipe.crf.iterations=0",
}
OUTPUTS = {  # what a step holds a lock for
    "download": "data/raw/shapes.json",
    "prepare": "data/shapes",
    "train": "results/shapes/train",
    "infer": "results/shapes/val/predictions",
    "crf": "results/shapes/val/crf",
    "score": "results/shapes/val/scores.json",
    "table": TABLE,
}
COMMANDS = {"snakemake": ("snakemake", "--cores", "1", TABLE), "dvc": ("dvc", "repro")}
SECONDS = 120


@pytest.fixture(scope="session")
def old(by_snakemake: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Results of the settings as they are, which both tools know of."""

    def make(folder: Path) -> None:
        project = by_snakemake.copy(folder)
        project.ok("unia", "sync", "--to", "dvc")
        project.commit()

    return Project.there(once(tmp_path_factory, "old", make))


@pytest.fixture
def sound(old: Project, step: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table of the change that concerns `step`, undisturbed."""

    def make(folder: Path) -> None:
        changed(old.copy(folder), CHANGES[step]).ok(*COMMANDS["snakemake"])

    table = once(tmp_path_factory, f"sound {CHANGES[step]}", make) / TABLE
    assert table.read_bytes() != (old.folder / TABLE).read_bytes()
    return table.read_bytes()


@pytest.mark.parametrize("tool", COMMANDS)
@pytest.mark.parametrize("how", ["fails", "killed", "stopped", "full"])
@pytest.mark.parametrize("step", CHANGES)
def test_the_same_command_makes_the_table_of_the_new_parameters(
    step: str, how: str, tool: str, old: Project, sound: bytes, tmp_path: Path
) -> None:
    with small_disks(*([tmp_path / "project"] if how == "full" else [])):
        project = changed(old.copy(tmp_path / "project"), CHANGES[step])
        other = {"snakemake": "dvc", "dvc": "snakemake"}[tool]
        FAULTS[how](project, step, COMMANDS[tool])
        stands = (project.folder / TABLE).exists()  # else no old number is left that a sync could bless
        done = project.run("unia", "sync", "--to", other)
        assert (done.returncode != 0) == stands, done.stdout

        project.ok(*COMMANDS[tool])
        assert (project.folder / TABLE).read_bytes() == sound
        project.unia("trace", TABLE, "--verify")  # ends with 0 where nothing has changed
        project.ok("unia", "sync", "--to", other)


def changed(project: Project, change: str) -> Project:
    project.set(change)
    project.commit()
    return project


def fails(project: Project, step: str, command: tuple[str, ...]) -> None:
    """Another process seems to write what the step is to write."""
    with alone(project.folder / OUTPUTS[step]):
        done = project.run(*command)
    assert done.returncode != 0
    assert f"{OUTPUTS[step]}: another run is writing it" in done.stdout


def killed(project: Project, step: str, command: tuple[str, ...]) -> None:
    """The tool, the step and all else of theirs, by SIGKILL; the tool's lock is taken away."""
    with at_work(project, step, command) as (tool, _):
        below = psutil.Process(tool.pid).children(recursive=True)
        os.killpg(tool.pid, signal.SIGKILL)
        psutil.wait_procs(below, timeout=10)
    if command[0] == "snakemake":
        project.ok("snakemake", "--unlock")


def stopped(project: Project, step: str, command: tuple[str, ...]) -> None:
    """The step alone, by SIGTERM."""
    with at_work(project, step, command) as (tool, process):
        process.terminate()
        assert tool.wait(SECONDS) != 0


def full(project: Project, step: str, command: tuple[str, ...]) -> None:
    """All of the project's disk is full from when the step has begun until the tool has given up."""
    with at_work(project, step, command) as (tool, process):
        process.suspend()
        with filled(project.folder):
            process.resume()
            assert tool.wait(SECONDS) != 0


FAULTS = {"fails": fails, "killed": killed, "stopped": stopped, "full": full}


@contextmanager
def at_work(
    project: Project, step: str, command: tuple[str, ...]
) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process]]:
    """The tool, in a process group of its own, and the process of the step, as soon as it is there."""
    said = project.folder / "said.txt"
    with said.open("wb") as file:
        tool = subprocess.Popen(
            command, cwd=project.folder, env=project.environment, stdout=file, stderr=file,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        while (process := found(tool, step)) is None:
            assert tool.poll() is None, said.read_text()
            time.sleep(0.02)
        yield tool, process
    finally:
        if tool.poll() is None:
            os.killpg(tool.pid, signal.SIGKILL)
        tool.wait()


def found(tool: subprocess.Popen[bytes], step: str) -> psutil.Process | None:
    try:
        for process in psutil.Process(tool.pid).children(recursive=True):
            words = process.cmdline()
            if len(words) > 2 and Path(words[1]).name == "unia" and words[2] == step:
                return process
    except psutil.Error:  # it has ended meanwhile
        pass
    return None
