"""The commands that make a table again."""

import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from unia.config import load, settings_between
from unia.errors import UserError
from unia.tracking import record
from unia.tracking.receipt import Receipt
from unia.tracking.trace import SHORT, Chain, code, name_of


def rerun(chain: Chain) -> Iterator[str]:
    """Lines for a shell: the commit, its environment, every step in order, and Snakemake's one line."""
    commit, settings = "", [""]
    for step in chain.steps.values():
        if step["git"]["dirty"] or step["git"]["commit"] is None:
            yield f"# {name_of(step)} was made by {code(step)}: what no commit holds cannot be brought back"
    for step in chain.steps.values():
        if step["git"]["commit"] not in (None, commit):
            commit = step["git"]["commit"]
            yield from _checkout(commit)
        if step["settings"] != settings:
            settings = step["settings"]
            yield f"export UNIA_SET={shlex.quote(chr(10).join(settings))}"
        added = [word for setting in unrecorded(step) for word in ("--set", setting)]
        yield shlex.join([*step["command"], *added])
    last = chain.steps[chain.last]
    if last["step"] != "evaluate":
        every = [*settings, *(setting for step in chain.steps.values() for setting in unrecorded(step))]
        yield "# or, for all of the steps:"
        assigned = shlex.quote("\n".join(dict.fromkeys(every)))
        yield f"UNIA_SET={assigned} snakemake --cores all {shlex.quote(str(chain.table))}"


def unrecorded(step: Receipt) -> list[str]:
    """The settings that a step had by changes of params.yaml which no commit holds."""
    commit, command = step["git"]["commit"], step["command"]
    if commit is None or not step["git"]["dirty"] or "--params" in command:
        return []
    try:
        shown = subprocess.run(["git", "show", f"{commit}:params.yaml"], cwd=record.ROOT, capture_output=True)
    except OSError:  # no git here
        return []
    given = [value for option, value in pairwise(command) if option == "--set"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_bytes(shown.stdout)
        try:
            recipe = load(path, [*step["settings"], *given]).recipe(step["dataset"])
        except UserError:  # no such commit here, or a dataset that it does not know
            return []
    committed = {section: getattr(recipe, section).model_dump(mode="json") for section in step["params"]}
    found = []
    for setting in settings_between(committed, step["params"]):
        small = step["size"] == "small" and not setting.startswith("data.")
        found.append(f"small.{setting}" if small else f"datasets.{step['dataset']}.{setting}")
    return found


def _checkout(commit: str) -> Iterator[str]:
    folder = f"../unia-{commit[:SHORT]}"
    yield f"git worktree add --detach {folder} {commit}"
    yield f"cd {folder}"
    yield "make setup"
    yield 'export PATH="$PWD/.venv/bin:$PATH"'
