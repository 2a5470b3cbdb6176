"""Where MLflow keeps its runs: `mlflow.db` here, or what MLFLOW_TRACKING_URI names."""

import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from unia.errors import UserError
from unia.tracking.moved import FIGURES, at_home
from unia.tracking.parents import Parent, parent_run

LOCK_SECONDS = 120.0
PATIENCE = 120.0  # seconds that a finished step waits for a server that is away
SOON = {  # so that what does not answer costs seconds; the user's own values win
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "PGCONNECT_TIMEOUT": "20",
}


@dataclass(frozen=True)
class Store:
    """A store of MLflow by its address, and where the files of new experiments go (None: where it says)."""

    uri: str
    artifacts: Path | None

    @classmethod
    def chosen(cls) -> "Store":
        """The user's, or the one in this folder."""
        here = Path.cwd()
        given = os.environ.get("MLFLOW_TRACKING_URI", "")
        return cls(given, None) if given else cls(f"sqlite:///{here / 'mlflow.db'}", here / FIGURES)

    @property
    def remote(self) -> bool:
        """Whether it may be away for a while, and come back."""
        return not self.uri.startswith("sqlite:")

    @property
    def patience(self) -> float:
        """How many seconds a finished step waits for it."""
        return PATIENCE if self.remote else 0.0

    def load(self) -> None:
        """Import MLflow, which takes seconds; raises where there is none."""
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when mlflow is imported
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
        for name, value in SOON.items():
            os.environ.setdefault(name, value)
        import mlflow  # noqa: F401

        for name in ("mlflow", "alembic"):  # their chatter and tracebacks stay off the step's own lines
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def open(self, name: str, parents: Sequence[Parent]) -> tuple[Any, str, str | None]:
        """(MLflow's client, the id of the experiment `name`, that of the innermost of `parents`).

        What lacks is made. Raises soon where the store does not answer; UserError where the experiment was
        deleted.
        """
        from mlflow import MlflowClient

        self._check()
        with self._by_one():
            if self.artifacts is not None and (self.artifacts.parent / "mlflow.db").exists():
                at_home(self.artifacts.parent)
            client = MlflowClient(self.uri)
            experiment = self._experiment(client, name)
            above: str | None = None
            for parent in parents:
                above = parent_run(client, experiment, parent, above)
        return client, experiment, above

    def passing(self, error: Exception) -> bool:
        """Whether an error may be over soon: a server that is away, not one that refuses."""
        from mlflow.exceptions import MlflowException
        from requests import RequestException
        from sqlalchemy.exc import OperationalError

        if not self.remote:
            return False
        if isinstance(error, MlflowException):
            status = error.get_http_status_code()
            return status in (408, 429) or status >= 500
        return isinstance(error, RequestException | OperationalError | ConnectionError | TimeoutError)

    @contextmanager
    def _by_one(self) -> Iterator[None]:
        """Processes that open a fresh SQLite store together break it: the first one creates all there is."""
        if self.remote:
            yield
            return
        with FileLock(Path.cwd() / "mlflow.db.lock", timeout=LOCK_SECONDS):
            yield

    def _check(self) -> None:
        """Raise where a database does not answer, or is none: MLflow would try for minutes, in silence."""
        from mlflow.store.db.db_types import DATABASE_ENGINES
        from sqlalchemy import create_engine

        if not self.remote:
            path = Path(self.uri.removeprefix("sqlite:///"))
            if path.is_dir():
                raise OSError(f"{path} is a folder")
            if path.exists():
                with closing(sqlite3.connect(path, timeout=30)) as connection:
                    connection.execute("PRAGMA schema_version").fetchone()
        elif self.uri.split("://")[0].split("+")[0] in DATABASE_ENGINES:
            create_engine(self.uri).connect().close()

    def _experiment(self, client: Any, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(name)
        if found is None:
            location = None if self.artifacts is None else (self.artifacts / name).as_uri()
            try:
                return str(client.create_experiment(name, artifact_location=location))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = client.get_experiment_by_name(name)  # another step made it meanwhile
        if found.lifecycle_stage == "deleted":
            where = "MLFLOW_TRACKING_URI=sqlite:///mlflow.db " if self.artifacts is not None else ""
            raise UserError(
                f"its experiment {name} was deleted; to bring it back: "
                f"{where}mlflow experiments restore --experiment-id {found.experiment_id}"
            )
        return str(found.experiment_id)
