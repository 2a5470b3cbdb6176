"""Whose is what lies where a step writes: a step replaces its own work only, and no more of that than it may.

Its own is what its receipt lists, and what a run of it that did not come to its receipt may have left: such a
run leaves `.<first output>.begun`. All else counts that would be removed, hidden files too.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from unia.config import Params
from unia.errors import UserError
from unia.files import everything, names, sibling
from unia.pipeline import behind
from unia.tracking.receipt import Receipt, beside, files_of, find_receipt, read_receipt

TOOLS = (".snakemake_timestamp", ".DS_Store", ".gitignore")  # Snakemake, macOS and DVC put them into folders


@contextmanager
def owned(outputs: Mapping[str, Path]) -> Iterator[None]:
    """Write `outputs` meanwhile; UserError, before anything is done, where something else lies there."""
    begun = begun_marker(next(iter(outputs.values())))
    others = _others(outputs, begun.exists())
    if others is not None:
        raise UserError(
            f"{others}: lies where this step would write, and no receipt says that it made it; "
            "name another place, or move it away"
        )
    begun.touch()
    try:
        yield
    finally:
        if _others(outputs) is None:
            begun.unlink(missing_ok=True)


def begun_marker(first: Path) -> Path:
    """What is there beside a step's first output while it runs, and after it was cut off."""
    return sibling(first, f".{first.name}.begun")


def keep_full(step: str, size: str, outputs: Iterable[Path]) -> None:
    """UserError where a trial (size: small) would replace what was made in full."""
    if size != "small" or set(behind(step)) == {"data"}:
        return
    for path in outputs:
        if made_of(path).get("size") == "full":
            raise UserError(
                f"{path}: was made in full (size: full), and a trial (size: small) would replace it; "
                "make the trial in another copy of the project, or move the full results away"
            )


def check_weights(params: Params, name: str, outputs: Iterable[Path]) -> None:
    """UserError where the file of weights that a training would start from is missing.

    Not where the checkpoint that lies at `outputs` was made of it already: then nothing is to be trained.
    """
    weights = params.recipe(name).model.weights_file
    if weights is None or weights.exists():
        return
    made = [made_of(path).get("params", {}).get("model", {}).get("weights") for path in outputs]
    if any(known != params.recipe(name).model.weights for known in made):
        raise UserError(f"{name}: model.weights: {weights} does not exist")


def check_added(folder: Path) -> None:
    """UserError where somebody has added a file to a folder that a step has made, as its receipt tells."""
    listed = _made(folder).get(folder.name)
    if listed is None or not folder.is_dir():
        return
    added = _added(folder, listed)
    if added is not None:
        raise UserError(
            f"{added}: no step has made it, and it would be removed with its folder, which is to "
            "be made again; move it elsewhere"
        )


def _others(outputs: Mapping[str, Path], begun: bool = False) -> Path | None:
    """The first file or folder at `outputs` that is not as the step's receipt lists it.

    Where a run has `begun` that did not come to its receipt, what is newer than the receipt may be its work.
    """
    first = next(iter(outputs.values()))
    made = _made(first)
    for path in filter(_there, outputs.values()):
        if begun and _newer(path, made.get(path.name), beside(first)):
            continue
        if path.name not in made:
            return path
        if path.is_dir() and (added := _added(path, made[path.name] or {})):
            return added
    return None


def _newer(path: Path, listed: Mapping[str, str] | None, receipt: Path) -> bool:
    """Whether a run that ended before it wrote its receipt has left `path`, or has replaced it."""
    if not receipt.exists():
        return True
    held = names(path) if path.is_dir() and listed is None else listed  # None: the new list is there already
    files = [path / name for name in held or ()] if path.is_dir() else [path]
    return not all(file.exists() and file.stat().st_mtime <= receipt.stat().st_mtime for file in files)


def _added(folder: Path, listed: Container[str]) -> Path | None:
    """The first file in `folder` that is not one of those listed."""
    more = (folder / name for name in everything(folder) if name not in listed)
    return next((file for file in more if file.name not in TOOLS), None)


def _there(path: Path) -> bool:
    """Whether a file is there, or a folder that holds something."""
    return any(file.name not in TOOLS for file in path.iterdir()) if path.is_dir() else path.exists()


def _made(first: Path) -> dict[str, dict[str, str] | None]:
    """What the receipt of the step with this first output lists, by name, with its files; {} without one."""
    try:
        receipt = read_receipt(beside(first))
        entries = [*receipt["outputs"].values(), *receipt["sources"].values()]
        return {Path(entry["path"]).name: files_of(entry) for entry in entries}
    except UserError:
        return {}


def made_of(path: Path) -> Receipt:
    """The receipt of what lies at `path`; {} where nothing does, or none tells of it."""
    receipt = find_receipt(path) if _there(path) else None
    try:
        return read_receipt(receipt) if receipt is not None else {}
    except UserError:
        return {}
