"""No step takes more cores than it was given."""

import io
import os
from pathlib import Path
from typing import Any

import joblib
import pytest

from unia.data.samples import Sample
from unia.parallel import cores, for_each
from unia.training import launch


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 64 cores, with nothing granted yet."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
        monkeypatch.delenv(name, raising=False)


def give(monkeypatch: pytest.MonkeyPatch, quota: str) -> None:
    """A container with this content of cpu.max."""
    context = joblib.externals.loky.backend.context
    opened = {"/sys/fs/cgroup/cpu.max": quota}
    monkeypatch.setattr(context, "open", lambda name, *_: io.StringIO(opened[name]), raising=False)
    monkeypatch.setattr(context.os.path, "exists", lambda name: name in opened)


def test_the_least_of_what_bounds_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "max 100000")
    assert cores() == 64
    give(monkeypatch, "3200000 100000")
    assert cores() == 32
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert cores() == 16
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    assert cores() == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert cores() == 4
    give(monkeypatch, "150000 100000")
    assert cores() == 2


@pytest.mark.parametrize("said", ["", "0", "-1", "many", "4,2"])
def test_what_is_no_number_bounds_nothing(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "max 100000")
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert cores() == 64


def process(sample: Sample) -> int:
    return os.getpid()


@pytest.mark.slow
def test_samples_are_shared_by_as_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    samples = [Sample(str(number), Path("image.png"), None, None) for number in range(6)]
    assert len(set(for_each(process, samples, "pids"))) == 2


def test_training_processes_share_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    def started(config: Any, program: str) -> Any:
        return lambda *arguments: given.append(os.environ["OMP_NUM_THREADS"])

    monkeypatch.setattr(launch, "elastic_launch", started)
    monkeypatch.setenv("OMP_NUM_THREADS", "32")  # as Snakemake sets it for `threads: 32`
    launch.launch(2)
    assert given == ["16"]
