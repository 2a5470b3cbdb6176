"""`unia evaluate`: a checkpoint's table in one command: infer, CRF, score; the reference's is imported."""

from pathlib import Path

from unia.data.samples import load_split
from unia.model.checkpoint import Header
from unia.recipe import Recipe
from unia.steps.checkpoint import import_checkpoint
from unia.steps.crf import crf
from unia.steps.infer import infer
from unia.steps.score import score
from unia.steps.table import table


def evaluate(checkpoint: Path, dataset: str, recipe: Recipe, data: Path, split: str, out: Path) -> None:
    """Write the folder `out`: predictions, crf, scores.json, images.csv and table.csv, as the steps would.

    A file that does not end in .safetensors is taken as a checkpoint of the reference.
    """
    out.mkdir(parents=True, exist_ok=True)
    if checkpoint.suffix != ".safetensors":
        about = load_split(data, split)
        header = Header(recipe.model, about.classes, dataset, 0, recipe.train.crop, about.tile)
        imported = out / "checkpoint.safetensors"
        import_checkpoint(checkpoint, header, imported)
        checkpoint = imported
    infer(recipe.pseudo_label, recipe.infer, data, split, checkpoint, out / "predictions")
    crf(recipe.crf, data, split, out / "predictions", out / "crf")
    score(data, split, out / "predictions", out / "crf", out / "scores.json", out / "images.csv")
    table(out / "scores.json", out / "table.csv")
