"""From a table back to the data it began with, along the receipts; and as a tree to read."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.text import Text
from rich.tree import Tree

from unia.errors import UserError
from unia.files import sha256
from unia.system import of_system
from unia.tracking.receipt import UNLIKE, Receipt, beside, find_receipt, made_hash, read_receipt

SHORT = 8  # characters of a hash that are shown
COLUMNS = 3  # of a table's row: the first ones after its name


@dataclass
class Chain:
    """The steps that made a table, by the path of their receipt, each after those that it builds on."""

    table: Path
    last: Path
    steps: dict[Path, Receipt] = field(default_factory=dict)
    broken: dict[Path, str] = field(default_factory=dict)
    """Receipts that are missing or changed, and why; what lies behind them is not known."""


def follow(table: Path, row: str | None = None) -> Chain:
    """The chain of a file that a step wrote.

    Where inputs of its last step lie in a folder called `row` (a variant), only these are followed.
    Raises UserError where `table` has no receipt.
    """
    last = find_receipt(table)
    if last is None:
        raise UserError(
            f"{table}: has no receipt ({beside(table)}); only what a step of unia wrote is traced"
        )
    chain = Chain(table, last)
    _visit(chain, last, row)
    return chain


def check_made(path: Path) -> None:
    """UserError where `path`, which has a receipt, is not what this tells of."""
    receipt = find_receipt(path)
    if receipt is None or path.is_dir() or not path.exists():
        return
    try:
        known = made_hash(read_receipt(receipt), path)
    except UserError:
        return  # a broken chain, which is told by itself
    if known is not None and known != sha256(path):
        raise UserError(f"{path}: {UNLIKE}; see `unia trace --verify`, or remove it and make it again")


def name_of(step: Receipt) -> str:
    """`infer val`."""
    return step["step"] if step["split"] is None else f"{step['step']} {step['split']}"


def number(table: Path, row: str | None) -> str:
    """The first numbers of a row, with their columns; of the last row by default.

    Raises UserError where there is no such row, and names those that there are.
    """
    try:
        with table.open(encoding="utf-8", newline="") as file:
            header, *lines = csv.reader(file)
    except (OSError, ValueError) as error:
        if of_system(error):
            raise
        raise UserError(f"{table}: cannot be read ({error}); run the step that makes it again") from None
    rows = {cells[0]: cells for cells in lines if cells}
    if row is None:
        row = next(reversed(rows), "")
    if row not in rows:
        raise UserError(f"{table}: has no row {row!r}; there are: {', '.join(rows)}")
    cells = zip(header[1 : 1 + COLUMNS], rows[row][1:], strict=False)
    return f"{row}: " + ", ".join(f"{name} {cell}" for name, cell in cells)


def tree(chain: Chain, heading: str) -> Tree:
    """The chain from its table, under `heading`, to what no step made; each step once."""
    root = Tree(Text(heading, style="bold"), guide_style="dim")
    _grow(chain, root, chain.last, set())
    return root


def facts(chain: Chain) -> Iterator[str]:
    """A line for each fact that most steps share, with the steps that it holds for where they differ."""
    for title, read in FACTS.items():
        found: dict[str, list[str]] = {}
        for step in chain.steps.values():
            found.setdefault(read(step), []).append(name_of(step))
        for value, steps in found.items():
            yield f"{title}: {value}" + (f" ({', '.join(steps)})" if len(found) > 1 else "")


def code(step: Receipt) -> str:
    """The commit in short, and whether the tree held more."""
    git = step["git"]
    if git["commit"] is None:
        return "no known commit"
    return f"commit {git['commit'][:SHORT]}" + (" with changes" if git["dirty"] else "")


def _lock(step: Receipt) -> str:
    lock = step["environment"]["lock"]
    return lock[:SHORT] if lock else "none"


def _versions(step: Receipt) -> str:
    found = step["environment"]
    chosen = {name: found["packages"].get(name) for name in ("torch", "numpy", "pydensecrf2")}
    chosen = {"Python": found["python"], **chosen, "CUDA": found.get("cuda"), "cuDNN": found.get("cudnn")}
    return ", ".join(f"{name} {version}" for name, version in chosen.items() if version)


def _host(step: Receipt) -> str:
    host = step["environment"]["host"]
    return f"{host['system']} {host['machine']}, {host['cores']} cores"


FACTS = {
    "code": code,
    "lock file": _lock,
    "versions": _versions,
    "host": _host,
    "settings": lambda step: ", ".join(step["settings"]) or "none",
}


def _visit(chain: Chain, path: Path, row: str | None = None) -> None:
    if path in chain.steps or path in chain.broken:
        return
    try:
        receipt = read_receipt(path)
    except UserError as error:
        chain.broken[path] = str(error)
        return
    inputs = receipt["inputs"]
    own = {name: used for name, used in inputs.items() if row in Path(used["path"]).parts}
    for used in (own or inputs).values():
        if used["receipt"] is not None:
            _visit(chain, Path(used["receipt"]["path"]))
    if own:
        receipt = {**receipt, "inputs": own}
    chain.steps[path] = receipt


def _grow(chain: Chain, branch: Tree, path: Path, seen: set[Path]) -> None:
    """What the step of the receipt at `path` was, and below it what it used."""
    if path in chain.broken:
        branch.add(Text(chain.broken[path], style="red"))
        return
    step = chain.steps[path]
    if path in seen:
        branch.label = Text.assemble(branch.label, (" (above)", "dim"))  # type: ignore[arg-type]
        return
    seen.add(path)
    branch.label = Text("\n").join([branch.label, *map(_dim, _about(step))])  # type: ignore[list-item]
    for used in step["inputs"].values():
        below = branch.add(_file(used))
        if used["receipt"] is None:
            below.label = Text.assemble(below.label, (" given", "dim"))  # type: ignore[arg-type]
        else:
            _grow(chain, below, Path(used["receipt"]["path"]), seen)
    for source in step["sources"].values():
        branch.add(Text.assemble(_file(source), (" source", "dim")))


def _about(step: Receipt) -> Iterator[str]:
    """What is told of a step: when, on what, and its parameters."""
    when = step["started"].replace("T", " ").removesuffix("+00:00")
    run = f", MLflow run {step['mlflow_run_id'][:SHORT]}" if step["mlflow_run_id"] else ""
    yield f"{name_of(step)}: {when} UTC, {step['seconds']:.0f} s, {step['environment']['device']}{run}"
    for section, values in step["params"].items():
        yield f"{section}: {_flow(values)}"


def _flow(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(values, default_flow_style=True, width=10**6, sort_keys=False).strip()


def _file(entry: Mapping[str, Any]) -> Text:
    return Text.assemble(entry["path"], " ", ((entry["sha256"] or "nothing")[:SHORT], "cyan"))


def _dim(line: str) -> Text:
    return Text(line, style="dim")
