"""Programs that record a step each, all at once, in one fresh store of MLflow."""

import subprocess
import sys
from pathlib import Path

import mlflow

WRITER = """
import sys
from unia.tracking.parents import lineage
from unia.tracking.runs import step_run
parents = lineage("shapes", "full", {"a": 1})
with step_run(f"step {sys.argv[1]}", "shapes", {"a": 1}, {}, {}, parents=parents) as run:
    run.log_metrics({"loss": float(sys.argv[1])})
"""


def write_at_once(folder: Path, count: int) -> None:
    """`count` of them, in the empty `folder`; no run may be lost."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(i)], cwd=folder) for i in range(count)]
    assert [writer.wait(timeout=600) for writer in writers] == [0] * count
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("shapes").experiment_id])
    parents = [run.info.run_id for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") in parents]
    assert len(parents) == 1
    assert {run.info.run_name: run.data.metrics["loss"] for run in children} == {
        f"step {i}": float(i) for i in range(count)
    }
    assert {run.info.status for run in children} == {"FINISHED"}
