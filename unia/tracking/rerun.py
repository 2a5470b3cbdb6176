"""The commands that make a table again, in a worktree of the commit that made it."""

import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from unia.config import Params, load
from unia.errors import UserError
from unia.files import names
from unia.layers import overlay, settings_between
from unia.recipe import SECTIONS
from unia.tracking import record
from unia.tracking.git import GitFailed, git
from unia.tracking.receipt import Receipt
from unia.tracking.trace import SHORT, Chain, code, name_of

PLACES = (("data", "source"), ("model", "weights"))  # parameters that may name files of the user's


def rerun(chain: Chain) -> Iterator[str]:
    """Lines for a shell: the commit, its environment, every step in order, and Snakemake's one line.

    What lay outside the commit is added to the steps: changed parameters so far as receipts tell them, and
    the absolute paths of the user's own files.
    """
    commit, settings = "", [""]
    recipe: dict[str, Any] = {}
    for step in chain.steps.values():
        recipe = overlay(recipe, step["params"])
        if step["git"]["dirty"] or step["git"]["commit"] is None:
            yield f"# {name_of(step)} was made by {code(step)}: what no commit holds cannot be brought back"
    added = {path: [*unrecorded(s, recipe), *_own_files(s)] for path, s in chain.steps.items()}
    for path, step in chain.steps.items():
        if step["git"]["commit"] not in (None, commit):
            commit = step["git"]["commit"]
            yield from _checkout(commit)
        if step["settings"] != settings:
            settings = step["settings"]
            yield f"export UNIA_SET={shlex.quote(chr(10).join(settings))}"
        yield shlex.join([*_command(step), *(word for setting in added[path] for word in ("--set", setting))])
    last = chain.steps[chain.last]
    if last["step"] != "evaluate":
        every = [*settings, *(setting for of_step in added.values() for setting in of_step)]
        yield "# or, for all of the steps:"
        assigned = shlex.quote("\n".join(dict.fromkeys(every)))
        yield f"UNIA_SET={assigned} snakemake --cores all {shlex.quote(str(chain.table))}"


def unrecorded(step: Receipt, recipe: Mapping[str, Any]) -> list[str]:
    """The settings that a step had by changes of params.yaml which its commit does not hold.

    Also where nothing had been changed when it ran: Snakemake's steps read a copy of what it began with.

    All of the dataset's, `recipe` as the steps together had it, where the commit does not know the dataset.
    """
    commit, command = step["git"]["commit"], step["command"]
    if commit is None or "--params" in command:
        return []
    given = [value for option, value in pairwise(command) if option == "--set"]
    try:
        if step["dataset"] not in _params(commit, []).runs:
            whole = {section: recipe.get(section, {}) for section in ("data", *SECTIONS)}
            return ["size=full", *settings_between({}, {"datasets": {step["dataset"]: whole}})]
        committed = _params(commit, [*step["settings"], *given]).recipe(step["run"])
    except UserError:  # no such commit here, or a variant that it does not know
        return []
    before = {section: getattr(committed, section).model_dump(mode="json") for section in step["params"]}
    return _named(step, settings_between(before, step["params"]))


def _own_files(step: Receipt) -> list[str]:
    """The settings that lead a step to files which its commit lacks, where they lie now."""
    found = []
    for section, key in PLACES:
        place = step["params"].get(section, {}).get(key)
        if place not in (None, "timm") and _lacks(step, place):
            found += settings_between({}, {section: {key: str(Path(place).absolute())}})
    return _named(step, found)


def _command(step: Receipt) -> list[str]:
    """A step's command, with absolute paths of what no step made and its commit lacks."""
    given = {used["path"] for used in step["inputs"].values() if used["receipt"] is None}
    given |= {value for option, value in pairwise(step["command"]) if option == "--params"}
    return [
        str(Path(word).absolute()) if word in given and _lacks(step, word) else word
        for word in step["command"]
    ]


def _lacks(step: Receipt, place: str) -> bool:
    """Whether a worktree of a step's commit would lack a file, or some file of a folder, that lies here."""
    if Path(place).is_absolute():
        return False
    files = [Path(place, name) for name in names(Path(place))] if Path(place).is_dir() else [Path(place)]
    listed = _git(Path(), "ls-tree", "-r", "-z", "--name-only", step["git"]["commit"] or "HEAD", "--", place)
    return not {str(file) for file in files} <= set(os.fsdecode(listed).split("\0"))


def _named(step: Receipt, settings: list[str]) -> list[str]:
    """Settings of a step's recipe as params.yaml takes them."""
    small = step["size"] == "small"
    return [
        f"small.{setting}"
        if small and not setting.startswith("data.")
        else f"datasets.{step['dataset']}.{setting}"
        for setting in settings
    ]


def _params(commit: str, settings: list[str]) -> Params:
    """params.yaml as a commit holds it; UserError where it cannot be had, or is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_bytes(_git(record.ROOT, "cat-file", "blob", f"{commit}:params.yaml"))
        return load(path, settings)


def _checkout(commit: str) -> Iterator[str]:
    folder = f"../unia-{commit[:SHORT]}"
    if not record.has_commit(commit):
        yield "# the commit is not here, and changes of its params.yaml are not known; if origin has it:"
        yield f"git fetch origin {commit}"
    yield f"git worktree add --detach {folder} {commit}"
    yield f"cd {folder}"
    yield "make setup"
    yield 'export PATH="$PWD/.venv/bin:$PATH"'


def _git(folder: Path, *arguments: str) -> bytes:
    """What git answers, nothing where it fails."""
    try:
        return git(folder, *arguments)
    except GitFailed:
        return b""
