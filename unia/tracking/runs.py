"""One MLflow run for each step, below one parent run for each dataset and size.

Tracking never stops a step: without MLflow, or with a broken store, the user gets one warning.
MLflow takes seconds to import, so it is imported only once a run starts.
"""

import logging
import os
import shlex
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from unia.config import dataset_of
from unia.files import Content
from unia.progress import say
from unia.tracking.moved import FIGURES, at_home
from unia.tracking.parents import PARAM, Parent, parent_run
from unia.tracking.receipt import contents, write_receipt
from unia.tracking.record import command, engine, environment, flatten, git_state, tell_other_code
from unia.tracking.record import settings as overrides

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TAG, DIGEST = 8000, 36  # the longest strings that MLflow takes
FLUSH_SECONDS = 10.0
SAMPLE_SECONDS = 5  # between two readings of the system's load
LOCK_SECONDS = 120.0


class Run:
    """Logs to one MLflow run; to nothing, silently, where there is none or its store failed."""

    def __init__(self) -> None:
        self.id: str | None = None
        self._parent: str | None = None
        self.sources: Sequence[Content] = ()
        """What the step has found by itself, beside its inputs: for its receipt."""
        self._mlflow: Any = None
        self._waiting: list[Any] = []
        self._flushed = time.monotonic()

    def log_metrics(self, values: Mapping[str, float], at: int | None = None) -> None:
        """Log `values` at iteration `at`; they reach the store together, every few seconds."""
        if self._mlflow is None:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting += [Metric(name, float(value), now, at or 0) for name, value in values.items()]
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def log_result(self, values: Mapping[str, float]) -> None:
        """Log `values`, and show them on the run that this step lies below."""
        self.log_metrics(values)
        with self._guarded():
            if self._mlflow is not None and self._parent is not None:
                for name, value in values.items():
                    self._mlflow.MlflowClient().log_metric(self._parent, name, value)

    def log_figure(self, figure: "Figure", name: str) -> None:
        """Store a matplotlib figure as `name`.png among the run's artifacts."""
        with self._guarded():
            if self._mlflow is not None:
                self._mlflow.log_figure(figure, f"{name}.png")

    def _start(
        self, mlflow: Any, name: str, experiment: str, parent: str | None, tags: Mapping[str, str]
    ) -> None:
        self._mlflow, self._parent = mlflow, parent
        mlflow.set_system_metrics_sampling_interval(SAMPLE_SECONDS)
        active = mlflow.start_run(
            experiment_id=experiment,
            run_name=name,
            parent_run_id=parent,
            tags={key: value[:TAG] for key, value in tags.items()},
            log_system_metrics=True,
        )
        self.id = active.info.run_id

    def _describe(self, settings: Mapping[str, Any], inputs: Mapping[str, Content], step: str) -> None:
        """Parameters and data; the first 36 characters of a hash are its digest, the tag holds all."""
        from mlflow.data.dataset_source_registry import resolve_dataset_source
        from mlflow.data.meta_dataset import MetaDataset

        self._mlflow.log_params({key: str(value)[:PARAM] for key, value in flatten(settings).items()})
        for name, data in inputs.items():
            if data.sha256 is not None:
                with warnings.catch_warnings(action="ignore"):  # it knows two names for a local path
                    source = resolve_dataset_source(str(data.path.resolve()))
                dataset = MetaDataset(source, name=name, digest=data.sha256[:DIGEST])
                self._mlflow.log_input(dataset, context=step, tags={"sha256": data.sha256})

    def _flush(self) -> None:
        with self._guarded():
            if self._mlflow is not None and self._waiting:
                self._mlflow.MlflowClient().log_batch(self.id, metrics=self._waiting)
        self._waiting = []
        self._flushed = time.monotonic()

    def _end(self, status: str, outputs: Mapping[str, Content]) -> None:
        self._flush()
        with self._guarded():
            if self._mlflow is not None:
                tags = {f"output.{name}": data.sha256 for name, data in outputs.items() if data.sha256}
                self._mlflow.set_tags(tags)
                self._mlflow.end_run(status)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """An error of MLflow ends the logging with one warning, and nothing else."""
        try:
            yield
        except Exception as error:
            mlflow, self._mlflow = self._mlflow, None
            say(f"warning: MLflow does not record this step: {_reason(error)}")
            if mlflow is not None:
                _abandon(mlflow)


@contextmanager
def step_run(
    step: str,
    name: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path],
    *,
    parents: Sequence[Parent] = (),
    size: str = "full",
    split: str | None = None,
) -> Iterator[Run]:
    """Record one step in MLflow and, once it has succeeded, in `<first output>.run.json`.

    `name` is the run's (see `unia.config`), `settings` the step's parameters, nested; `inputs` and `outputs`
    its files and folders by name. MLflow's run is called `<step> <split>`, lies in the experiment of the
    dataset below `parents` (outermost first), and is marked FAILED (KILLED where it was told to stop) where
    the block raises.
    Of several processes that compute one step together only the first (RANK 0) records it.
    """
    if os.environ.get("RANK", "0") != "0":
        yield Run()
        return
    dataset = dataset_of(name)
    started, clock = datetime.now(UTC), time.monotonic()
    tell_other_code()
    git, used = git_state(), contents(inputs)
    run = Run()
    with run._guarded():
        _open(run, step, name, parents, split, git, used)
        if run.id is not None:
            run._describe(settings, used, step)
    try:
        yield run
    except BaseException as error:
        run._end("KILLED" if isinstance(error, KeyboardInterrupt | SystemExit) else "FAILED", {})
        raise
    made = contents(outputs)
    run._end("FINISHED", made)
    if made:
        about = {
            "step": step,
            "split": split,
            "dataset": dataset,
            "run": name,
            "size": size,
            "command": command(),
            "engine": engine(),
            "settings": overrides(),
            "params": settings,
            "started": started.isoformat(timespec="seconds"),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - clock, 3),
            "git": git,
            "environment": environment(),
            "mlflow_run_id": run.id,
            "mlflow_experiment": dataset if run.id else None,
        }
        write_receipt(about, used, run.sources, made)


def _open(
    run: Run,
    step: str,
    name: str,
    parents: Sequence[Parent],
    split: str | None,
    git: Mapping[str, Any],
    used: Mapping[str, Content],
) -> None:
    """Start the run, creating the store, the experiment and the parent runs where they lack."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when mlflow is imported
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a dead server costs seconds
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    # Processes that open a fresh SQLite store together break it: the first one creates all there is.
    with FileLock(Path.cwd() / "mlflow.db.lock", timeout=LOCK_SECONDS):
        own = "MLFLOW_TRACKING_URI" not in os.environ
        store = Path.cwd() / "mlflow.db"
        if own and store.exists():
            _check(store)
            at_home(store.parent)
        import mlflow

        _quiet()
        if own:
            mlflow.set_tracking_uri(f"sqlite:///{store}")
        client = mlflow.MlflowClient()
        experiment = _experiment(client, dataset_of(name), Path.cwd() / FIGURES if own else None)
        above: str | None = None
        for parent in parents:
            above = parent_run(client, experiment, parent, above)
    tags = {"unia.step": step, "unia.run": name, "unia.dataset": dataset_of(name)}
    tags |= {"unia.command": shlex.join(command())}
    tags |= {f"input.{key}": data.sha256 for key, data in used.items() if data.sha256}
    if git["commit"] is not None:
        tags |= {"mlflow.source.git.commit": git["commit"], "git.dirty": str(git["dirty"]).lower()}
    run._start(mlflow, step if split is None else f"{step} {split}", experiment, above, tags)


def _check(store: Path) -> None:
    """Raise at once where `store` is no SQLite database: MLflow would retry for minutes."""
    if store.is_dir():
        raise OSError(f"{store} is a folder")
    with closing(sqlite3.connect(store, timeout=30)) as connection:
        connection.execute("PRAGMA schema_version").fetchone()


def _experiment(client: Any, name: str, artifacts: Path | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = None if artifacts is None else (artifacts / name).as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def _abandon(mlflow: Any) -> None:
    """Leave no run active in this process, nor its readings of the load, whatever the store says."""
    try:
        mlflow.end_run("FAILED")
    except Exception:
        return


def _reason(error: Exception) -> str:
    """The first line of what `error` says, but for the preface that SQLAlchemy may put before it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if not line.startswith("(raised as a result of")), lines[0])


def _quiet() -> None:
    """Keep MLflow's and its migrations' chatter, and their tracebacks, off the step's own lines."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
