"""One run in MLflow: what a step logs, sent in the background by MLflow's client.

Its client alone: the run that is active in the user's environment (MLFLOW_RUN_ID) is none of ours.
"""

import io
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unia.files import Content
from unia.progress import say
from unia.tracking.outbox import Outbox, reason
from unia.tracking.parents import PARAM, Parent
from unia.tracking.record import flatten
from unia.tracking.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TAG, DIGEST = 8000, 36  # the longest strings that MLflow takes
FLUSH_SECONDS = 10.0
SAMPLE_SECONDS = 5  # between two readings of the system's load

Point = tuple[str, float, int, int]
"""Name, value, time in milliseconds and iteration of a metric."""


@dataclass(frozen=True)
class About:
    """What is known of a run when it starts: its step, where it belongs, what it is made of."""

    name: str
    step: str
    experiment: str
    parents: Sequence[Parent]
    """The runs above it, outermost first."""
    tags: Mapping[str, str]
    settings: Mapping[str, Any]
    inputs: Mapping[str, Content]
    begun: Path | None
    """A file that is there while a step runs, and after it was cut off. It holds the run's id."""


class Run:
    """Logs to one MLflow run; to nothing, silently, before it begins and where there is no MLflow."""

    def __init__(self) -> None:
        self.id: str | None = None
        self.sources: Sequence[Content] = ()
        """What the step has found by itself, beside its inputs: for its receipt."""
        self._parent: str | None = None
        self._client: Any = None
        self._outbox: Outbox | None = None
        self._monitor: Any = None
        self._patience = 0.0
        self._waiting: list[Point] = []
        self._flushed = time.monotonic()

    def log_metrics(self, values: Mapping[str, float], at: int | None = None) -> None:
        """Log `values` at iteration `at`; they reach the store together, every few seconds."""
        self._waiting += _points(values, at or 0)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._flush()

    def log_result(self, values: Mapping[str, float]) -> None:
        """Log `values` on this step's run, and on its parent run."""
        self.log_metrics(values)
        points = _points(values, 0)
        self._put(lambda: self._send_metrics(self._parent, points))

    def log_figure(self, figure: "Figure", name: str) -> None:
        """Store a matplotlib figure as `name`.png among the run's artifacts."""
        if self._outbox is not None:
            drawn = io.BytesIO()
            figure.savefig(drawn, format="png")
            self._put(lambda: self._send_file(f"{name}.png", drawn.getvalue()))

    def begin(self, about: About) -> None:
        """Start the run, or say in one line why MLflow will not record the step."""
        store = Store.chosen()
        try:
            store.load()
        except Exception as error:
            say(f"warning: MLflow does not record this step: {reason(error)}")
            return

        def start() -> None:
            if self.id is None:
                self._client, experiment, self._parent = store.open(about.experiment, about.parents)
                self.id = self._create(experiment, about)
                self._close_former(about.begun)
            self._describe(self.id, about)
            self._watch(self.id)

        self._patience = store.patience
        self._outbox = Outbox(store.passing)
        self._outbox.put(start)
        self._outbox.wait_for_first()

    def end(self, status: str, outputs: Mapping[str, Content], patience: float | None = None) -> None:
        """End the run as `status`, once all that waits is sent.

        `patience`: seconds to wait for a server that is away, where not as long as for its store. One that
        never answered is not waited for.
        """
        if self._outbox is None:
            return
        self._flush()
        tags = {f"output.{name}": data.sha256 for name, data in outputs.items() if data.sha256}
        self._put(lambda: self._monitor and self._monitor.finish())
        self._put(lambda: self._send_end(status, tags))
        longest = self._patience if self.id is not None else 0.0
        self._outbox.close(longest if patience is None else min(patience, longest))

    def _put(self, send: Callable[[], object]) -> None:
        """Send it later, if by then there is a run."""
        if self._outbox is not None:
            self._outbox.put(lambda: self.id and send())

    def _flush(self) -> None:
        points, self._waiting = self._waiting, []
        self._flushed = time.monotonic()
        if points:
            self._put(lambda: self._send_metrics(self.id, points))
            self._put(lambda: self._watch(str(self.id)))

    def _create(self, experiment: str, about: About) -> str:
        from mlflow.tracking.context.registry import resolve_tags
        from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

        above = {} if self._parent is None else {MLFLOW_PARENT_RUN_ID: self._parent}
        tags = {key: value[:TAG] for key, value in {**about.tags, **above}.items()}
        made = self._client.create_run(experiment, run_name=about.name, tags=resolve_tags(tags))
        return str(made.info.run_id)

    def _close_former(self, begun: Path | None) -> None:
        """A run that was cut off could not say so, and would seem to run for ever: say it now."""
        if begun is None or not begun.exists():
            return
        with suppress(Exception):  # of another store, or deleted; or a full disk
            former = begun.read_text(encoding="utf-8")
            begun.write_text(str(self.id), encoding="utf-8")
            if former and self._client.get_run(former).info.status == "RUNNING":
                self._client.set_terminated(former, "KILLED")

    def _describe(self, run: str, about: About) -> None:
        """Parameters and data; the first 36 characters of a hash are its digest, the tag holds all."""
        from mlflow.data.dataset_source_registry import resolve_dataset_source
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput, InputTag, Param
        from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

        params = [Param(key, str(value)[:PARAM]) for key, value in flatten(about.settings).items()]
        self._client.log_batch(run, params=params, synchronous=True)
        used = []
        for name, data in about.inputs.items():
            if data.sha256 is not None:
                with warnings.catch_warnings(action="ignore"):  # it knows two names for a local path
                    source = resolve_dataset_source(str(data.path.resolve()))
                dataset = MetaDataset(source, name=name, digest=data.sha256[:DIGEST])
                tags = [InputTag(MLFLOW_DATASET_CONTEXT, about.step), InputTag("sha256", data.sha256)]
                used.append(DatasetInput(dataset._to_mlflow_entity(), tags))
        self._client.log_inputs(run, datasets=used)

    def _watch(self, run: str) -> None:
        """Log the machine's load, by MLflow's own thread; again where that ended as the server was away."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        if self._monitor is None or not self._monitor._process.is_alive():
            again = self._monitor is not None
            self._monitor = SystemMetricsMonitor(
                run, SAMPLE_SECONDS, resume_logging=again, tracking_uri=self._client.tracking_uri
            )
            self._monitor.start()

    def _send_metrics(self, run: str | None, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        if run is not None:
            metrics = [Metric(*point) for point in points]
            self._client.log_batch(run, metrics=metrics, synchronous=True)

    def _send_file(self, name: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            self._client.log_artifact(self.id, str(path))

    def _send_end(self, status: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._client.set_terminated(self.id, status)
        self._client.log_batch(self.id, tags=[RunTag(*tag) for tag in tags.items()], synchronous=True)


def _points(values: Mapping[str, float], at: int) -> list[Point]:
    now = int(time.time() * 1000)
    return [(name, float(value), now, at) for name, value in values.items()]
