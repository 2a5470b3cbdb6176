"""MLflow's server goes and comes while a step runs: nothing is lost, and the step is not held up."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from servers import Gate, mlflow_server

from unia.tracking import run as runs
from unia.tracking import store
from unia.tracking.parents import lineage
from unia.tracking.runs import step_run

pytestmark = pytest.mark.slow

PARENTS = lineage("shapes", "full", {})
PASSWORD = "s3cr@t"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as port:
        yield port


@pytest.fixture
def gate(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """The way to the server, closed; steps run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RANK", raising=False)
    gate = Gate(port)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:{PASSWORD}@127.0.0.1:{gate.port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(runs, "FLUSH_SECONDS", 0.0)
    yield gate
    gate.close()


def the_run(port: int, run: str) -> Any:
    import mlflow

    return mlflow.MlflowClient(f"http://127.0.0.1:{port}").get_run(run)


def losses(port: int, run: str) -> list[float]:
    import mlflow

    history = mlflow.MlflowClient(f"http://127.0.0.1:{port}").get_metric_history(run, "loss")
    return sorted(point.value for point in history)


def receipt() -> dict[str, Any]:
    return json.loads(Path("model.bin.run.json").read_text())


def test_a_server_that_is_away_for_a_while_misses_nothing(
    gate: Gate, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    gate.open()
    with step_run("train", "shapes", {}, {}, {"model": Path("model.bin")}, parents=PARENTS) as run:
        begun = time.monotonic()
        for i in range(10):
            if i == 3:
                gate.close()
            run.log_metrics({"loss": float(i)}, at=i)
            if i == 8:
                run.log_figure(Figure(), "confusion")
                time.sleep(3.0)
                gate.open()
        assert time.monotonic() - begun < 10
        Path("model.bin").write_bytes(b"weights")
    assert run.id is not None
    assert the_run(port, run.id).info.status == "FINISHED"
    assert losses(port, run.id) == [float(i) for i in range(10)]
    assert receipt()["mlflow_run_id"] == run.id
    said = capfd.readouterr()
    lines = said.err.splitlines()
    assert [line.split(";")[0] for line in (lines[0], lines[-1])] == [
        "warning: MLflow is away",
        "MLflow answers again",
    ]
    assert len(lines) <= 3  # between the two it may say that it waits
    assert PASSWORD not in said.out + said.err


def test_a_server_that_is_away_at_the_start_gets_the_whole_run(
    gate: Gate, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with step_run("train", "shapes", {"lr": 1}, {}, {"model": Path("model.bin")}, parents=PARENTS) as run:
        assert run.id is None
        run.log_metrics({"loss": 1.0}, at=1)
        gate.open()
        for _ in range(200):
            if run.id is not None:
                break
            time.sleep(0.1)
        run.log_metrics({"loss": 2.0}, at=2)
        Path("model.bin").write_bytes(b"weights")
    assert run.id is not None
    assert losses(port, run.id) == [1.0, 2.0]
    found = the_run(port, run.id)
    assert (found.info.status, found.data.params) == ("FINISHED", {"lr": "1"})
    assert PASSWORD not in "".join(capfd.readouterr())


def test_a_server_that_stays_away_is_waited_for_once_and_said(
    gate: Gate, port: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(store, "PATIENCE", 2.0)
    gate.open()
    with step_run("train", "shapes", {}, {}, {"model": Path("model.bin")}, parents=PARENTS) as run:
        gate.close()
        run.log_metrics({"loss": 1.0}, at=1)
        time.sleep(1.0)
        Path("model.bin").write_bytes(b"weights")
    assert receipt()["mlflow_run_id"] == run.id
    away, waiting, lost = capfd.readouterr().err.splitlines()
    assert away.startswith("warning: MLflow is away; what it misses waits")
    assert waiting == "MLflow is still away: waiting for it, 2 seconds at most"
    assert lost.startswith("warning: MLflow stayed away")


def test_a_server_that_was_never_there_costs_a_step_seconds(
    gate: Gate, capfd: pytest.CaptureFixture[str]
) -> None:
    begun = time.monotonic()
    with step_run("train", "shapes", {}, {}, {"model": Path("model.bin")}, parents=PARENTS):
        Path("model.bin").write_bytes(b"weights")
    assert time.monotonic() - begun < 20
    assert receipt()["mlflow_run_id"] is None
    said = "".join(capfd.readouterr())
    assert said.count("\n") == 2
    assert PASSWORD not in said


def test_a_database_that_does_not_answer_costs_a_step_seconds(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("psycopg2", reason="needs the driver of PostgreSQL, psycopg2")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql://me:s3cret@127.0.0.1:{gate.port}/mlflow")
    begun = time.monotonic()
    with step_run("train", "shapes", {}, {}, {"model": Path("model.bin")}, parents=PARENTS):
        Path("model.bin").write_bytes(b"weights")
    assert time.monotonic() - begun < 20
    assert "Connection refused" in capfd.readouterr().err.splitlines()[0]


def test_a_user_s_own_run_is_left_alone(
    gate: Gate, port: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"http://127.0.0.1:{port}")
    own = client.create_run("0", run_name="my notebook").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", own)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    gate.open()
    with step_run("train", "shapes", {}, {}, {"model": Path("model.bin")}, parents=PARENTS) as run:
        Path("model.bin").write_bytes(b"weights")
    assert run.id not in (None, own)
    found = the_run(port, own)
    assert (found.info.run_name, found.info.status) == ("my notebook", "RUNNING")
    assert client.get_experiment_by_name("mine") is None
    assert capfd.readouterr().err == ""


def test_an_experiment_that_was_deleted_is_brought_back_by_the_command_that_is_said(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import mlflow
    from click.testing import CliRunner
    from mlflow.cli import cli

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with step_run("train", "shapes", {}, {}, {}, parents=PARENTS) as run:
        pass
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    client.delete_experiment(client.get_experiment_by_name("shapes").experiment_id)
    with step_run("train", "shapes", {}, {}, {}, parents=PARENTS) as run:
        pass
    assert run.id is None
    (line,) = capfd.readouterr().err.splitlines()
    told, _, command = line.partition("to bring it back: ")
    assert "its experiment shapes was deleted" in told
    assignment, program, *arguments = command.split()
    assert program == "mlflow"
    done = CliRunner().invoke(cli, arguments, env=dict([assignment.split("=", 1)]))
    assert done.exit_code == 0, done.output
    with step_run("train", "shapes", {}, {}, {}, parents=PARENTS) as run:
        pass
    assert run.id is not None
