"""Any images, segmented by a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from unia.commands.options import Log
from unia.files import alone
from unia.progress import log_to
from unia.recipe import Precision

app = typer.Typer()
SCALES = (1.0, 1.25, 1.5)  # the published ones


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of them.")],
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="One of our checkpoints (.safetensors).")],
    out: Annotated[Path, typer.Option("--out", help="A folder for masks, overlays and areas.")],
    scales: Annotated[
        list[float] | None,
        typer.Option("--scale", help="Of the size of training; by default 1, 1.25 and 1.5."),
    ] = None,
    precision: Annotated[Precision, typer.Option("--precision", help="Of the network's passes.")] = "bf16",
    log: Log = None,
) -> None:
    """Segment images: masks, overlays and uncertainty as PNG, classes and areas as JSON.

    All that it needs is in the checkpoint. Images that can't be read are named, and all others done; the exit
    code is then 1.
    """
    from unia.steps.predict import predict as step

    with log_to(log), alone(out):
        step(images, checkpoint, scales or SCALES, precision, out)
