"""Any checkpoint, ours or the reference's: import, export and evaluate; and pretrained weights."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from unia.commands.options import Dataset, NewFile, Split, reads_params, running
from unia.config import Params

app = typer.Typer()
checkpoint_app = typer.Typer(no_args_is_help=True, help="Checkpoints of the reference, in and out.")
app.add_typer(checkpoint_app, name="checkpoint")


class Form(StrEnum):
    """The two forms of the reference's checkpoints."""

    voc = "voc"
    coco = "coco"


@app.command()
@reads_params
def evaluate(
    params: Params,
    checkpoint: Annotated[Path, typer.Argument(help="Ours (.safetensors) or the reference's (.pth).")],
    dataset: Annotated[str, typer.Option("--dataset", help="A dataset of params.yaml.")],
    data: Annotated[Path | None, typer.Option("--data", help="Prepared; data/<dataset> by default.")] = None,
    split: Split = "val",
    out: Annotated[Path | None, typer.Option("--out", help="A folder for all that is made.")] = None,
) -> None:
    """Infer, CRF, score and table for any checkpoint, the reference's too."""
    from unia.commands.screen import print_table, screen
    from unia.steps.evaluate import evaluate as step

    data = data or Path("data") / dataset
    out = out or Path("results/evaluate") / f"{checkpoint.stem}_{dataset}_{split}"
    with running("evaluate", params, dataset, {"checkpoint": checkpoint, "data": data}, out, split):
        step(checkpoint, dataset, params.recipe(dataset), data, split, out)
    print_table(out / "table.csv", screen())


@app.command()
@reads_params
def weights(
    params: Params,
    dataset: Dataset,
    out: NewFile,
) -> None:
    """Fetch the backbone's pretrained weights through timm; write a file (.safetensors) for model.weights.

    For machines that cannot reach timm's hub. Reads the section model of the dataset.
    """
    from unia.steps.weights import weights as step

    step(params.recipe(dataset).model, out)


@checkpoint_app.command("import")
@reads_params
def import_checkpoint(
    params: Params,
    file: Annotated[Path, typer.Argument(help="A checkpoint of the reference, VOC or COCO form.")],
    out: NewFile,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", help="Whose model it is; by default voc or coco, by its classes."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Prepared, for its classes; by default VOC's or COCO's own.")
    ] = None,
) -> None:
    """Write a reference checkpoint as one of ours (.safetensors)."""
    from unia.data.samples import load_split
    from unia.model.checkpoint import Header
    from unia.steps.checkpoint import import_checkpoint as step
    from unia.steps.checkpoint import official

    if dataset is None or data is None:
        named, classes = official(file)
        tile = None
        dataset = dataset or named
    else:
        about = load_split(data, "train")
        classes, tile = about.classes, about.tile
    recipe = params.recipe(dataset)
    step(file, Header(recipe.model, classes, dataset, 0, recipe.train.crop, tile), out)


@checkpoint_app.command("export")
def export_checkpoint(
    file: Annotated[Path, typer.Argument(help="One of our checkpoints.")],
    out: NewFile,
    form: Annotated[Form, typer.Option("--form", help="The reference's form.")] = Form.voc,
) -> None:
    """Write one of our checkpoints in the reference's form (torch.save)."""
    from unia.steps.checkpoint import export_checkpoint as step

    step(file, form.value, out)
