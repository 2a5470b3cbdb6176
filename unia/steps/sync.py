"""`unia sync`: what Snakemake or DVC has computed is made known to the other, once the one is sure of it.

Both tools believe whatever lies there when told so. Hence the order: the one that computed must have
nothing left to do; only then the other is told; in the end it must have nothing to do either. A sync
that was cut off can be run again.
"""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from unia.config import load
from unia.errors import UserError
from unia.inherited import check_seen
from unia.steps.source import look, look_at_weights, source_file, weights_state

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage

RECORDS = Path(".snakemake/metadata")  # by which Snakemake notices changed parameters and code
TOLERANCE = 0.01  # seconds between an output's time and what Snakemake's record says of it


def to_dvc() -> list[str]:
    """After Snakemake: bring dvc.lock and DVC's cache up to the outputs that lie here.

    Returns the stages that were brought up to date. Raises UserError, and leaves all as it was, where
    Snakemake would still run something, or something else has written the outputs since it did.
    """
    with _repo() as repo:
        made = _made(repo)
        pending = _snakemake_plans(made)
        if pending:
            raise UserError(f"Snakemake would still run {_list(pending)}; run `snakemake` first")
        changed = set(_dvc_plans(repo, made))
        stages = [stage for stage in made if stage.addressing in changed]
        foreign = _foreign(stages)
        if foreign:
            raise UserError(
                f"{_list(foreign)}: not as Snakemake left it; if DVC made it, run `dvc repro` and then "
                "`unia sync --to snakemake`, else remove it and run `snakemake`"
            )
        # Relinked files would get new times, and Snakemake would run their rules again.
        for stage in [*_sources(repo), *stages]:
            repo.commit(stage.addressing, force=True, relink=False)
        left = _dvc_plans(repo, made)
    if left:
        raise UserError(f"DVC still finds {_list(left)} changed; is something writing here? Sync again")
    return [stage.addressing for stage in stages]


def to_snakemake() -> list[str]:
    """After DVC: write the times and records by which Snakemake notices the next change.

    Returns the stages whose outputs it now knows. Raises UserError, and leaves all as it was, where DVC
    would still run something, or has brought back only a part.
    """
    with _repo() as repo:
        made = _made(repo)
        changed = _dvc_plans(repo, made)
    if changed:
        raise UserError(f"DVC would still run {_list(changed)}; run `dvc repro` first")
    _snakemake("--touch", "--forceall", "--cores", "1", *_outputs(made))
    left = _snakemake_plans(made) or _foreign(made)
    if left:
        raise UserError(f"Snakemake would still run {_list(left)}; is something writing here? Sync again")
    return [stage.addressing for stage in made]


@contextmanager
def _repo() -> Iterator["Repo"]:
    """DVC's view of this folder; what it raises as one line."""
    from dvc.exceptions import DvcException  # takes a second
    from dvc.repo import Repo

    check_seen()
    try:
        with Repo() as repo:
            yield repo
    except DvcException as error:
        raise UserError(f"DVC: {_line(str(error))}") from None


def _made(repo: "Repo") -> list["Stage"]:
    """The stages whose outputs all exist, all of which were made of sources that have been looked at anew."""
    stages = [stage for stage in repo.index.stages if not stage.always_changed]
    made = [stage for stage in stages if all(out.exists for out in stage.outs)]
    if not made:
        raise UserError("nothing is computed here yet; run `snakemake` or `dvc repro`")
    params = load(Path("params.yaml"))
    used = {str(dep) for stage in made for dep in stage.deps}
    for dataset in params.run:
        if str(source_file(dataset)) in used:
            look(dataset, params.recipe(dataset).data, source_file(dataset))
        if str(weights_state(dataset)) in used:
            look_at_weights(dataset, params.recipe(dataset).model, weights_state(dataset))
    return made


def _sources(repo: "Repo") -> list["Stage"]:
    """The stages that look at the sources of what is made. DVC runs them always, and calls them changed."""
    return [
        stage for stage in repo.index.stages if stage.always_changed and all(out.exists for out in stage.outs)
    ]


def _outputs(stages: Sequence["Stage"]) -> list[str]:
    return [str(out) for stage in stages for out in stage.outs]


def _dvc_plans(repo: "Repo", stages: Sequence["Stage"]) -> list[str]:
    """Those of `stages` that are not as dvc.lock describes them."""
    return list(repo.status(targets=[stage.addressing for stage in stages]))


def _snakemake_plans(stages: Sequence["Stage"]) -> list[str]:
    """The rules that Snakemake would run for the outputs of `stages`."""
    printed = _snakemake("--dry-run", *_outputs(stages))
    rules = re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):", printed, re.MULTILINE)
    if not rules and "Nothing to be done" not in printed:
        raise UserError("Snakemake's plan cannot be read; see `snakemake --dry-run`")
    return rules


def _foreign(stages: Sequence["Stage"]) -> list[str]:
    """Outputs of `stages` that Snakemake has no record of, or that were written after it.

    It takes no notice of either: without a record it runs nothing whatever the parameters are, and
    an old record vouches for an output that DVC has made of other parameters since.
    """
    return [output for output in _outputs(stages) if _written(Path(output)) > _recorded(output) + TOLERANCE]


def _written(output: Path) -> float:
    files = [file for file in output.rglob("*") if not file.name.startswith(".")]
    return max(path.stat().st_mtime for path in files or [output])


def _recorded(output: str) -> float:
    """The time in Snakemake's record of an output; 0 where there is none."""
    try:
        record = json.loads((RECORDS / base64.urlsafe_b64encode(output.encode()).decode()).read_text())
    except FileNotFoundError:
        return 0.0
    return float(record["endtime"])


def _snakemake(*arguments: str) -> str:
    """What Snakemake prints; UserError with its own words where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--quiet", "host", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        said = done.stdout.partition("Building DAG of jobs...")[2] or done.stdout
        raise UserError(f"Snakemake: {_line(said)}")
    return done.stdout


def _line(text: str) -> str:
    return " ".join(text.split())


def _list(names: Sequence[str]) -> str:
    """At most five names in one line."""
    shown = ", ".join(dict.fromkeys(names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
