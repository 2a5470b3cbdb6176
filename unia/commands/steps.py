"""The steps of the pipeline as commands; what each does is in `unia.steps`, imported when it runs."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from unia.commands.options import (
    Data,
    Dataset,
    NewFile,
    Out,
    PartOf,
    Predictions,
    RunName,
    Split,
    reads_params,
    running,
    vacant,
)
from unia.config import Params, dataset_of
from unia.files import alone
from unia.steps.part import WHOLE, Part

app = typer.Typer()


@app.command()
@reads_params
def source(
    params: Params,
    dataset: Dataset,
    out: Out,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="The same of the weights that training starts from.")
    ] = None,
) -> None:
    """Look at a dataset's source, and write down its state if it has changed (a small JSON file).

    Without this file Snakemake and DVC would not notice a corrected label, or an image that was replaced.
    """
    from unia.steps.source import look, look_at_weights

    recipe = params.recipe(dataset)
    look(dataset, recipe.data, out)
    if weights is not None:
        look_at_weights(dataset, recipe.model, weights)


@app.command()
@reads_params
def download(
    params: Params,
    dataset: Dataset,
    out: Out,
) -> None:
    """Fetch, generate or find a dataset's raw data, and write down what it is (a JSON file).

    Reads the section data of the dataset.
    """
    from unia.steps.download import download as step

    data = params.recipe(dataset).data
    drawn = {"drawn": out.with_suffix("")} if data.kind == "shapes" and out.name else {}
    with running("download", params, dataset, {}, out, made_too=drawn) as run:
        run.sources = step(dataset, data, out)


@app.command()
@reads_params
def prepare(
    params: Params,
    dataset: Dataset,
    raw: Annotated[Path, typer.Option("--raw", help="The JSON file of `unia download`.")],
    out: Out,
) -> None:
    """Check the raw data; write its splits, masks and image-level labels in one common form (a folder).

    Reads the section data of the dataset.
    """
    from unia.steps.prepare import prepare as step

    with running("prepare", params, dataset, {"raw": raw}, out):
        step(dataset, params.recipe(dataset).data, raw, out)


@app.command()
@reads_params
def train(
    params: Params,
    name: RunName,
    data: Data,
    out: Out,
    processes: Annotated[int, typer.Option("--processes", min=0, help="One for each GPU; 0 is one.")] = 1,
) -> None:
    """Train on the split train; write a folder with checkpoint.safetensors and losses.csv.

    Reads the sections model, pseudo_label, losses and train.
    """
    from unia.steps.train import train as step
    from unia.training.launch import launch, launched, one_voice
    from unia.training.processes import check_shares

    recipe = params.recipe(name)
    if processes > 1 and not launched():
        check_shares(recipe.train, processes)
        launch(processes)
        return
    weights = recipe.model.weights_file
    inputs = {"data": data} | ({} if weights is None else {"weights": weights})
    with one_voice(), running("train", params, name, inputs, out) as run:
        step(dataset_of(name), recipe, data, out, lambda at, values: run.log_metrics(values, at=at))


@app.command()
@reads_params
def infer(
    params: Params,
    name: RunName,
    data: Data,
    split: Split,
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="A checkpoint of `unia train`.")],
    out: Out,
    part: PartOf = str(WHOLE),
) -> None:
    """Predict a split: label maps of every kind, and logits for the CRF (a folder).

    Reads the sections pseudo_label and infer; the model is the checkpoint's.
    """
    from unia.steps.infer import infer as step

    recipe, share = params.recipe(name), Part.read(part)
    work = partial(step, recipe.pseudo_label, recipe.infer, data, split, checkpoint, out, share)
    if not share.whole:
        with alone(share.marker(out)):
            work()
        return
    inputs = {"data": data, "checkpoint": checkpoint}
    with running("infer", params, name, inputs, out, split) as run:
        work()
        from unia.figures.predictions import panel

        run.log_figure(panel(data, split, out), "predictions")


@app.command()
@reads_params
def crf(
    params: Params,
    name: RunName,
    data: Data,
    split: Split,
    predictions: Predictions,
    out: Out,
    part: PartOf = str(WHOLE),
) -> None:
    """Refine the multi-scale segmentation by a dense CRF: label maps (a folder). Reads the section crf."""
    from unia.steps.crf import crf as step

    share = Part.read(part)
    work = partial(step, params.recipe(name).crf, data, split, predictions, out, share)
    if not share.whole:
        with alone(share.marker(out)):
            work()
        return
    inputs = {"data": data, "predictions": predictions}
    with running("crf", params, name, inputs, out, split):
        work()


@app.command()
@reads_params
def score(
    params: Params,
    name: RunName,
    data: Data,
    split: Split,
    predictions: Predictions,
    crf: Annotated[Path, typer.Option("--crf", help="The folder of `unia crf`.")],
    out: Out,
    images: Annotated[Path, typer.Option("--images", help="What to write of each image (CSV).")],
) -> None:
    """Compare every kind of prediction with the ground truth.

    Writes the confusion matrices of the split (JSON), and each image's hits and misses by class (CSV).
    """
    from unia.figures.confusion import confusion_figure
    from unia.steps.score import score as step
    from unia.steps.table import summary

    inputs = {"data": data, "predictions": predictions, "crf": crf}
    with running("score", params, name, inputs, {"out": out, "images": images}, split) as run:
        step(data, split, predictions, crf, out, images)
        run.log_result(summary(out))
        run.log_figure(confusion_figure(out), "confusion")


@app.command()
@reads_params
def table(
    params: Params,
    name: RunName,
    scores: Annotated[Path, typer.Option("--scores", help="The JSON file of `unia score`.")],
    out: Out,
    metrics: Annotated[Path, typer.Option("--metrics", help="The mIoUs alone (JSON), for `dvc metrics`.")],
) -> None:
    """Write the table of scores (CSV): a row for each kind of prediction."""
    from unia.steps.table import metrics as summarise
    from unia.steps.table import table as step

    with running("table", params, name, {"scores": scores}, {"out": out, "metrics": metrics}):
        step(scores, out)
        summarise(scores, metrics)


@app.command()
def card(
    data: Annotated[Path, typer.Argument(help="The prepared dataset's folder.")],
    split: Annotated[str, typer.Argument(help="train, val or test.")],
    out: NewFile,
) -> None:
    """Show what a split holds as a page (HTML): classes, sizes, labels, licence, hash."""
    from unia.data.card import page, read_card
    from unia.files import write_text

    write_text(out, page(read_card(data, split)))


@app.command()
@reads_params
def ablation(
    params: Params,
    dataset: Dataset,
    results: Annotated[Path, typer.Option("--results", help="The folder of all results.")],
    split: Split,
    out: Out,
) -> None:
    """Tabulate a dataset's ablation (CSV): mean and spread over the seeds, difference to the first variant.

    Reads what `unia score` wrote to <results>/<dataset>/<variant>/<seed>/<split>.
    """
    from unia.steps.ablation import ablation as step

    about = params.ablation(dataset)
    folders = {
        variant: [results / dataset / variant / str(seed) / split for seed in about.seeds]
        for variant in about.variants
    }
    inputs = {
        f"{variant} {seed}": folder / "images.csv"
        for variant, of_seeds in folders.items()
        for seed, folder in zip(about.seeds, of_seeds, strict=True)
    }
    with running("ablation", params, dataset, inputs, out, split):
        step(folders, params.changes(dataset), out, params.twin(dataset))


@app.command()
@reads_params
def volumes(
    params: Params,
    dataset: Dataset,
    data: Data,
    split: Split,
    labels: Annotated[Path, typer.Option("--labels", help="Label maps: of crf, or one kind of infer.")],
    out: Out,
) -> None:
    """Put the label maps of slices back into volumes (ACDC): NIfTI files, with the original's header."""
    from unia.steps.volumes import volumes as step

    with running("volumes", params, dataset, {"data": data, "labels": labels}, out, split):
        step(data, split, labels, out)


@app.command()
def show(
    tables: Annotated[list[Path], typer.Argument(help="Tables of `unia table`.")],
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write them as a page (HTML).", callback=vacant)
    ] = None,
    others: Annotated[Path, typer.Option("--published", help="Numbers that others have published.")] = Path(
        "docs/published.csv"
    ),
) -> None:
    """Print tables, readably; below each, what others have published of the same split."""
    from unia.commands.screen import page, print_table, screen
    from unia.files import write_text

    console = screen()
    for path in tables:
        print_table(path, console, others)
    if html is not None:
        write_text(html, page(tables, others))
