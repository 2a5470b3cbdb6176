"""Whether a result was made of the parameters and the inputs as they are now, as its receipt tells.

Snakemake's own records tell that too, where they are: not after `.snakemake` was removed, and not of a step
that was run by hand, of something else, over what Snakemake had made, or in another copy of the project that
shares the folder.
"""

from collections.abc import Mapping
from pathlib import Path

from unia.errors import UserError
from unia.files import names, sha256
from unia.pipeline import STEPS
from unia.recipe import Recipe
from unia.tracking.owned import made_of
from unia.tracking.receipt import Receipt, find_receipt, made_hash, read_receipt


def outdated(step: str, recipe: Recipe, output: Path, inputs: Mapping[Path, str | None]) -> bool:
    """Whether the receipt of `output` tells of other parameters than those of `recipe` that `step` reads.

    Or of other inputs than these `inputs`, by their `known_hash`.
    A receipt that is not of what lies there says nothing: DVC brings back outputs without receipts.
    """
    path, receipt = find_receipt(output), made_of(output)
    if path is None or receipt.get("step") != step:
        return False
    now = {name: getattr(recipe, name).model_dump(mode="json") for name in STEPS[step]}
    if receipt["params"] == now and not _of_others(receipt, inputs):
        return False
    return _tells_of(path, receipt, output)


def known_hash(path: Path) -> str | None:
    """The sha256 of what a step made at `path`: of a folder, by its receipt; None where that may not tell."""
    try:
        receipt = find_receipt(path)
        if receipt is None or path.is_file():
            return None if receipt is None else sha256(path)
        return made_hash(read_receipt(receipt), path) if _newest(path) <= receipt.stat().st_mtime else None
    except (UserError, OSError):  # it may be replaced at this moment
        return None


def _of_others(receipt: Receipt, inputs: Mapping[Path, str | None]) -> bool:
    """Whether a step used other inputs; of one that was not as its maker's receipt tells nothing is said."""
    entries = receipt["inputs"].values()
    used = {entry["sha256"] for entry in entries}
    unlike = {Path(entry["path"]) for entry in entries if entry["receipt"] is None}
    return any(known not in used for path, known in inputs.items() if known and path not in unlike)


def _tells_of(path: Path, receipt: Receipt, output: Path) -> bool:
    """Whether the receipt at `path` is of what lies there: by a file's content, or a folder's newest time."""
    if output.is_file():
        return made_hash(receipt, output) == sha256(output)
    return _newest(output) <= path.stat().st_mtime


def _newest(path: Path) -> float:
    """The last time that a file, or one in a folder, was changed; 0 for a folder without files."""
    files = [path / name for name in names(path)] if path.is_dir() else [path]
    return max((file.stat().st_mtime for file in files), default=0.0)
