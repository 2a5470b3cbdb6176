"""Whether a result was made of the parameters as they are now, as its receipt tells.

Snakemake's own records tell that too, where they are: not after `.snakemake` was removed, and not of a step
that was run by hand, with other settings, over what Snakemake had made.
"""

from pathlib import Path

from unia.files import names, sha256
from unia.recipe import STEPS, Recipe
from unia.tracking.owned import made_of
from unia.tracking.receipt import Receipt, find_receipt, made_hash


def outdated(step: str, recipe: Recipe, output: Path) -> bool:
    """Whether the receipt of `output` tells of other parameters than those of `recipe` that `step` reads.

    A receipt that is not of what lies there says nothing: DVC brings back outputs without receipts.
    """
    path, receipt = find_receipt(output), made_of(output)
    if path is None or receipt.get("step") != step:
        return False
    now = {name: getattr(recipe, name).model_dump(mode="json") for name in STEPS[step]}
    return receipt["params"] != now and _tells_of(path, receipt, output)


def _tells_of(path: Path, receipt: Receipt, output: Path) -> bool:
    """Whether the receipt at `path` is of what lies there: by a file's content, or a folder's newest time."""
    if output.is_file():
        return made_hash(receipt, output) == sha256(output)
    newest = max(((output / name).stat().st_mtime for name in names(output)), default=0.0)
    return newest <= path.stat().st_mtime
