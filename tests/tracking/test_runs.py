"""Runs are found again in MLflow's own store; no trouble of the store reaches the step."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from writers import write_at_once

from unia.files import sha256_tree
from unia.tracking.owned import owned
from unia.tracking.parents import lineage
from unia.tracking.record import flatten
from unia.tracking.runs import step_run

SETTINGS = {"train": {"lr": 1e-3, "crop": 96, "vit": {"depth": 6}}, "scales": [1, 0.5]}
PARENTS = lineage("shapes", "full", SETTINGS)
KILLED = """
import os, signal, time
from pathlib import Path
from unia.tracking.owned import owned
from unia.tracking.runs import step_run
outputs, begun = {"model": Path("model.bin")}, Path(".model.bin.begun")
with owned(outputs), step_run("train", "shapes", {}, {}, outputs):
    while not begun.read_text():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a little data in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("a")
    return tmp_path


def train(folder: Path, fail: BaseException | None = None) -> str | None:
    """A step of no work; the id of its MLflow run."""
    outputs = {"model": folder / "model.bin"}
    with step_run("train", "shapes", SETTINGS, {"data": folder / "data"}, outputs, parents=PARENTS) as run:
        for i in range(3):
            run.log_metrics({"loss": 3.0 - i}, at=10 * i)
        run.log_figure(Figure(), "confusion")
        outputs["model"].write_bytes(b"weights")
        if fail is not None:
            raise fail
    return run.id


def store(folder: Path) -> Any:
    import mlflow

    return mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


@pytest.mark.slow
def test_a_step_is_a_child_run_with_params_metrics_and_data(folder: Path) -> None:
    ids = [train(folder), train(folder)]
    with step_run("infer", "shapes", {}, {}, {}, parents=PARENTS, split="val"):
        pass
    with pytest.raises(ValueError, match="of the step"):
        train(folder, fail=ValueError("of the step"))

    client = store(folder)
    assert [e.name for e in client.search_experiments(filter_string="name = 'shapes'")] == ["shapes"]
    experiment = client.get_experiment_by_name("shapes").experiment_id
    runs = {run.info.run_id: run for run in client.search_runs([experiment])}
    assert set(ids) < set(runs)
    (parent,) = [run for run in runs.values() if "mlflow.parentRunId" not in run.data.tags]
    assert parent.info.run_name == "shapes full"
    children = [run for run in runs.values() if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    names = sorted((run.info.run_name, run.info.status) for run in children)
    assert names == [
        ("infer val", "FINISHED"),
        ("train", "FAILED"),
        ("train", "FINISHED"),
        ("train", "FINISHED"),
    ]

    run = runs[str(ids[0])]
    expected = {"train.lr": "0.001", "train.crop": "96", "train.vit.depth": "6", "scales": "[1, 0.5]"}
    assert run.data.params == expected
    losses = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in losses] == [(0, 3.0), (10, 2.0), (20, 1.0)]
    (data,) = run.inputs.dataset_inputs
    whole = sha256_tree(folder / "data")
    assert (data.dataset.name, data.dataset.digest) == ("data", whole[:36])
    assert {tag.key: tag.value for tag in data.tags}["sha256"] == whole
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["confusion.png"]
    assert run.info.artifact_uri.startswith((folder / "mlartifacts").as_uri())


@pytest.mark.slow
def test_a_run_that_was_cut_off_is_closed_by_the_next(folder: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=folder)
    assert killed.returncode == -signal.SIGKILL
    outputs = {"model": folder / "model.bin"}
    with owned(outputs):
        train(folder)
    client = store(folder)
    runs = client.search_runs([client.get_experiment_by_name("shapes").experiment_id])
    assert sorted(run.info.status for run in runs if run.info.run_name == "train") == ["FINISHED", "KILLED"]


@pytest.mark.slow
def test_concurrent_first_writers_lose_no_run(folder: Path) -> None:
    write_at_once(folder, 4)


@pytest.mark.slow
def test_a_store_that_breaks_half_way_costs_one_warning(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outputs = {"model": folder / "model.bin"}
    with step_run("train", "shapes", SETTINGS, {}, outputs) as run:
        (folder / "mlflow.db").write_bytes(b"no database at all" * 1000)
        run.log_metrics({"loss": 1.0})
        run.log_figure(Figure(), "confusion")
        outputs["model"].write_bytes(b"weights")
    assert capfd.readouterr().err.count("warning: MLflow") == 1
    assert (folder / "model.bin.run.json").exists()


@pytest.mark.parametrize("broken", ["folder", "garbage", "not installed"])
def test_no_store_costs_one_warning_and_no_time(
    broken: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    slept: list[float] = []  # not the time it took, which is another on a busy machine
    sleep = time.sleep

    def noted(seconds: float) -> None:
        slept.append(seconds)
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", noted)
    if broken == "folder":
        (folder / "mlflow.db").mkdir()
    elif broken == "garbage":
        (folder / "mlflow.db").write_bytes(b"no database at all" * 1000)
    else:
        monkeypatch.setitem(sys.modules, "mlflow", None)
    assert train(folder) is None
    assert sum(slept) < 5  # MLflow by itself sleeps for 101
    assert capfd.readouterr().err.count("warning: MLflow") == 1


def test_a_step_that_fails_raises_its_own_error_without_a_store(folder: Path) -> None:
    (folder / "mlflow.db").mkdir()
    with pytest.raises(ZeroDivisionError):
        train(folder, fail=ZeroDivisionError())
    assert not (folder / "model.bin.run.json").exists()


def test_only_the_first_of_several_processes_records(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert train(folder) is None
    assert sorted(path.name for path in folder.iterdir()) == ["data", "model.bin"]


def test_settings_are_flattened_with_dots() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": None}, "e": {}}) == {"a.b.c": 1, "a.d": None, "e": {}}


@pytest.mark.slow
def test_a_project_that_was_moved_or_copied_keeps_its_figures_with_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train(folder)
    before, after = folder / "before", folder / "after now"
    before.mkdir()
    for name in ("mlflow.db", "mlartifacts", "data"):
        (folder / name).rename(before / name)
    capsys.readouterr()
    shutil.copytree(before, after)
    monkeypatch.chdir(after)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # which MLflow itself has set in this process
    second = train(after)
    assert capsys.readouterr().err.count("MLflow: the figures of shapes were at") == 1
    assert not (folder / "mlartifacts").exists()
    assert len(list((before / "mlartifacts").rglob("*.png"))) == 1
    client = store(after)
    for run in (first, second):
        uri = client.get_run(run).info.artifact_uri
        assert uri == f"{(after / 'mlartifacts' / 'shapes').as_uri()}/{run}/artifacts"
        assert [file.path for file in client.list_artifacts(run)] == ["confusion.png"]
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    train(after)
    assert "the figures of" not in capsys.readouterr().err
