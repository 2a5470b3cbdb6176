"""Whether a result was made of the parameters and the inputs as they are now, as its receipt tells.

Snakemake's own records tell that too, where they are: not after `.snakemake` was removed, and not of a step
that was run by hand, of something else, over what Snakemake had made, or in another copy of the project that
shares the folder.
"""

from collections.abc import Iterable
from pathlib import Path

from unia.errors import UserError
from unia.files import names, sha256
from unia.recipe import STEPS, Recipe
from unia.tracking.owned import made_of
from unia.tracking.receipt import Receipt, find_receipt, made_hash, read_receipt


def outdated(step: str, recipe: Recipe, output: Path, inputs: Iterable[Path] = ()) -> bool:
    """Whether the receipt of `output` tells of other parameters than those of `recipe` that `step` reads.

    Or of other inputs than those that lie at `inputs`, as the receipts of these tell.
    A receipt that is not of what lies there says nothing: DVC brings back outputs without receipts.
    """
    path, receipt = find_receipt(output), made_of(output)
    if path is None or receipt.get("step") != step:
        return False
    now = {name: getattr(recipe, name).model_dump(mode="json") for name in STEPS[step]}
    if receipt["params"] == now:
        used = {entry["sha256"] for entry in receipt["inputs"].values()}
        if all(known is None or known in used for known in map(_known, inputs)):
            return False
    return _tells_of(path, receipt, output)


def _known(path: Path) -> str | None:
    """The sha256 of what lies at `path` by the receipt of the step that made it; None where none tells."""
    receipt = find_receipt(path)
    if receipt is None or not path.exists() or _newest(path) > receipt.stat().st_mtime:
        return None
    try:
        return made_hash(read_receipt(receipt), path)
    except UserError:
        return None


def _tells_of(path: Path, receipt: Receipt, output: Path) -> bool:
    """Whether the receipt at `path` is of what lies there: by a file's content, or a folder's newest time."""
    if output.is_file():
        return made_hash(receipt, output) == sha256(output)
    return _newest(output) <= path.stat().st_mtime


def _newest(path: Path) -> float:
    """The last time that a file, or one in a folder, was changed; 0 for a folder without files."""
    files = [path / name for name in names(path)] if path.is_dir() else [path]
    return max((file.stat().st_mtime for file in files), default=0.0)
