"""Any images, segmented by a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from unia.commands.options import reads_params
from unia.config import Params
from unia.files import alone
from unia.recipe import AcdcData

app = typer.Typer()


@app.command()
@reads_params
def predict(
    params: Params,
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of them.")],
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="One of our checkpoints (.safetensors).")],
    out: Annotated[Path, typer.Option("--out", help="A folder for masks, overlays and areas.")],
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", help="Whose section infer to read; by default the checkpoint's."),
    ] = None,
) -> None:
    """Segment images: masks, overlays and uncertainty as PNG, classes and areas as JSON.

    Images that can't be read are named, and all others done; the exit code is then 1.
    """
    from unia.model.checkpoint import read_header
    from unia.steps.predict import predict as step

    recipe = params.recipe(dataset or read_header(checkpoint).dataset)
    data = recipe.data
    tile = data.tile.side if isinstance(data, AcdcData) and data.tags == "tile" else None
    with alone(out):
        step(images, checkpoint, recipe.infer, tile, out)
