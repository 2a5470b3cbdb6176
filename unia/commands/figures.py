"""Pictures of a run."""

from pathlib import Path
from typing import Annotated

import typer

from unia.commands.options import Data, Out, Predictions, RunName, Split, reads_params, running
from unia.config import Params

app = typer.Typer()


@app.command()
@reads_params
def figures(
    params: Params,
    name: RunName,
    split: Split,
    data: Data,
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="The checkpoint of `unia train`.")],
    predictions: Predictions,
    crf: Annotated[Path, typer.Option("--crf", help="The folder of `unia crf`.")],
    scores: Annotated[Path, typer.Option("--scores", help="The JSON file of `unia score`.")],
    images: Annotated[Path, typer.Option("--images", help="The CSV file of `unia score`.")],
    losses: Annotated[Path, typer.Option("--losses", help="losses.csv of `unia train`.")],
    out: Out,
) -> None:
    """Draw a run: learning curves, scores by class, and panels of chosen and of the worst images (a folder).

    Reads the sections pseudo_label and infer; the model is the checkpoint's.
    """
    from unia.figures.about import about
    from unia.steps.figures import figures as of_scores
    from unia.steps.figures import image_figures, write_figures

    recipe = params.recipe(name)
    inputs = {"data": data, "checkpoint": checkpoint, "predictions": predictions, "crf": crf}
    inputs |= {"scores": scores, "images": images, "losses": losses}
    with running("figures", params, name, inputs, out, split) as run:
        of = about(name, split, checkpoint)
        drawn = of_scores(scores, losses, data, of)
        labels = {"mutual": predictions / "mutual", "seg_ms": predictions / "seg_ms", "crf": crf}
        drawn |= image_figures(recipe.pseudo_label, recipe.infer, data, split, checkpoint, labels, images, of)
        write_figures(drawn, out)
        for key, figure in drawn.items():
            run.log_figure(figure, key)
