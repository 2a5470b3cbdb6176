"""A project that was renamed, moved or copied: MLflow's store holds absolute paths, and would write there."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from unia.progress import say

FIGURES = "mlartifacts"  # in the project's folder, beside mlflow.db: a folder for each experiment


def at_home(folder: Path) -> None:
    """Let experiments and runs of `folder`/mlflow.db keep their figures in `folder`; says where they were.

    MLflow itself has no way to change this. Experiments with figures elsewhere by choice stay as they are.
    """
    store = folder / "mlflow.db"
    with closing(sqlite3.connect(store, timeout=30)) as connection, connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
            return
        rows = connection.execute("SELECT experiment_id, name, artifact_location FROM experiments")
        for number, name, was in rows.fetchall():
            now = (folder / FIGURES / name).as_uri()
            if was == now or not str(was).endswith(f"/{FIGURES}/{quote(name)}"):
                continue
            say(f"MLflow: the figures of {name} were at {was}; from now on they are in {folder / FIGURES}")
            connection.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (now, number)
            )
            connection.execute(
                "UPDATE runs SET artifact_uri = ? || substr(artifact_uri, ?) "
                "WHERE experiment_id = ? AND substr(artifact_uri, 1, ?) = ?",
                (now, len(was) + 1, number, len(was), was),
            )
