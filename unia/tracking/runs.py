"""One MLflow run for each step, below one parent run for each dataset and size, and one receipt.

Tracking never stops a step: without MLflow, or with a broken store, the user gets one warning.
"""

import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unia.config import dataset_of
from unia.tracking.owned import begun_marker
from unia.tracking.parents import Parent
from unia.tracking.receipt import check_together, contents, write_receipt
from unia.tracking.record import command, engine, environment, git_state, tell_other_code
from unia.tracking.record import settings as overrides
from unia.tracking.run import About, Run

HURRY = 5.0  # seconds that a step which was told to stop waits for MLflow


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
    check_together(used)
    run = Run()
    tags = {
        "unia.step": step,
        "unia.run": name,
        "unia.dataset": dataset,
        "unia.command": shlex.join(command()),
    }
    tags |= {f"input.{key}": data.sha256 for key, data in used.items() if data.sha256}
    if git["commit"] is not None:
        tags |= {"mlflow.source.git.commit": git["commit"], "git.dirty": str(git["dirty"]).lower()}
    called = step if split is None else f"{step} {split}"
    begun = next(map(begun_marker, outputs.values()), None)
    run.begin(About(called, step, dataset, parents, tags, settings, used, begun))
    try:
        yield run
    except (KeyboardInterrupt, SystemExit):
        run.end("KILLED", {}, HURRY)
        raise
    except BaseException:
        run.end("FAILED", {})
        raise
    made = contents(outputs)
    run.end("FINISHED", made)
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
