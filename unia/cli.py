"""The command line: `unia <step> ...`. A rule of Snakemake and a stage of DVC run these same lines."""

import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from unia.config import STEPS, Params, load
from unia.errors import UserError
from unia.progress import log_to, say
from unia.tracking.runs import Run, step_run

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train, evaluate and trust UniA: weakly supervised semantic segmentation from image-level labels.",
)

checkpoint_app = typer.Typer(no_args_is_help=True, help="Checkpoints of the reference, in and out.")
app.add_typer(checkpoint_app, name="checkpoint")


class Form(StrEnum):
    """The two forms of the reference's checkpoints."""

    voc = "voc"
    coco = "coco"


Dataset = Annotated[str, typer.Argument(help="A dataset of params.yaml.")]
ParamsFile = Annotated[Path, typer.Option("--params", help="The parameters of every step.")]
Set = Annotated[list[str], typer.Option("--set", help="Override a parameter: recipe.crf.iterations=5.")]
Log = Annotated[Path | None, typer.Option("--log", help="Also write what is shown here to this file.")]
Data = Annotated[Path, typer.Option("--data", help="The prepared dataset's folder.")]
Split = Annotated[str, typer.Option("--split", help="train, val or test.")]
Out = Annotated[Path, typer.Option("--out", help="What to write.")]
PARAMS = Path("params.yaml")


def read(path: Path, settings: list[str]) -> Params:
    """params.yaml, with the settings of the environment (UNIA_SET, one a line) and of the command line."""
    return load(path, [*os.environ.get("UNIA_SET", "").splitlines(), *settings])


@contextmanager
def running(
    step: str,
    params: Params,
    dataset: str,
    inputs: Mapping[str, Path],
    out: Path,
    log: Path | None,
    split: str | None = None,
) -> Iterator[Run]:
    """Log a step's words to `log` and its run to MLflow, with the sections of the recipe that it reads."""
    recipe = params.recipe(dataset)
    settings = {section: getattr(recipe, section).model_dump(mode="json") for section in STEPS[step]}
    with (
        log_to(log),
        step_run(step, dataset, settings, inputs, {"out": out}, size=params.size, split=split) as run,
    ):
        yield run


@app.command()
def download(
    dataset: Dataset,
    out: Out,
    params: ParamsFile = PARAMS,
    settings: Set = [],  # noqa: B006
    log: Log = None,
) -> None:
    """Fetch, generate or find a dataset's raw data, and write down what it is (a JSON file).

    Reads the section data of the dataset.
    """
    from unia.steps.download import download as step

    loaded = read(params, settings)
    with running("download", loaded, dataset, {}, out, log):
        step(dataset, loaded.recipe(dataset).data, out)


@app.command()
def prepare(
    dataset: Dataset,
    raw: Annotated[Path, typer.Option("--raw", help="The JSON file of `unia download`.")],
    out: Out,
    params: ParamsFile = PARAMS,
    settings: Set = [],  # noqa: B006
    log: Log = None,
) -> None:
    """Check the raw data; write its splits, masks and image-level labels in one common form (a folder).

    Reads the section data of the dataset.
    """
    from unia.steps.prepare import prepare as step

    loaded = read(params, settings)
    with running("prepare", loaded, dataset, {"raw": raw}, out, log):
        step(dataset, loaded.recipe(dataset).data, raw, out)


@app.command()
def train(
    dataset: Dataset,
    data: Data,
    out: Out,
    params: ParamsFile = PARAMS,
    settings: Set = [],  # noqa: B006
    log: Log = None,
) -> None:
    """Train on the split train; write a folder with checkpoint.safetensors and losses.csv.

    Reads the sections model, pseudo_label, losses and train.
    """
    from unia.steps.train import train as step

    loaded = read(params, settings)
    with running("train", loaded, dataset, {"data": data}, out, log) as run:
        step(dataset, loaded.recipe(dataset), data, out, lambda at, values: run.log_metrics(values, at=at))


@app.command()
def infer(
    dataset: Dataset,
    data: Data,
    split: Split,
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="A checkpoint of `unia train`.")],
    out: Out,
    params: ParamsFile = PARAMS,
    settings: Set = [],  # noqa: B006
    log: Log = None,
) -> None:
    """Predict a split: label maps of every kind, and probabilities for the CRF (a folder).

    Reads the sections pseudo_label and infer; the model is the checkpoint's.
    """
    from unia.steps.infer import infer as step

    loaded = read(params, settings)
    recipe = loaded.recipe(dataset)
    inputs = {"data": data, "checkpoint": checkpoint}
    with running("infer", loaded, dataset, inputs, out, log, split) as run:
        step(recipe.pseudo_label, recipe.infer, data, split, checkpoint, out)
        from unia.tracking.figures import panel

        run.log_figure(panel(data, split, out), "predictions")


@app.command()
def crf(
    dataset: Dataset,
    data: Data,
    split: Split,
    predictions: Annotated[Path, typer.Option("--predictions", help="The folder of `unia infer`.")],
    out: Out,
    params: ParamsFile = PARAMS,
    settings: Set = [],  # noqa: B006
    log: Log = None,
) -> None:
    """Refine the multi-scale segmentation by a dense CRF: label maps (a folder). Reads the section crf."""
    from unia.steps.crf import crf as step

    loaded = read(params, settings)
    inputs = {"data": data, "predictions": predictions}
    with running("crf", loaded, dataset, inputs, out, log, split):
        step(loaded.recipe(dataset).crf, data, split, predictions, out)


@app.command()
def score(
    dataset: Dataset,
    data: Data,
    split: Split,
    predictions: Annotated[Path, typer.Option("--predictions", help="The folder of `unia infer`.")],
    crf: Annotated[Path, typer.Option("--crf", help="The folder of `unia crf`.")],
    out: Out,
    params: ParamsFile = PARAMS,
    settings: Set = [],  # noqa: B006
    log: Log = None,
) -> None:
    """Compare every kind of prediction with the ground truth: confusion matrices (a JSON file)."""
    from unia.steps.score import score as step
    from unia.steps.table import confusion_figure, summary

    loaded = read(params, settings)
    inputs = {"data": data, "predictions": predictions, "crf": crf}
    with running("score", loaded, dataset, inputs, out, log, split) as run:
        step(data, split, predictions, crf, out)
        run.log_metrics(summary(out))
        run.log_figure(confusion_figure(out), "confusion")


@app.command()
def table(
    dataset: Dataset,
    scores: Annotated[Path, typer.Option("--scores", help="The JSON file of `unia score`.")],
    out: Out,
    params: ParamsFile = PARAMS,
    settings: Set = [],  # noqa: B006
    log: Log = None,
) -> None:
    """Write the table of scores (CSV): a row for each kind of prediction."""
    from unia.steps.table import table as step

    loaded = read(params, settings)
    with running("table", loaded, dataset, {"scores": scores}, out, log):
        step(scores, out)


@app.command()
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="Ours (.safetensors) or the reference's (.pth).")],
    dataset: Annotated[str, typer.Option("--dataset", help="A dataset of params.yaml.")],
    data: Annotated[Path | None, typer.Option("--data", help="Prepared; data/<dataset> by default.")] = None,
    split: Split = "val",
    out: Annotated[Path | None, typer.Option("--out", help="A folder for all that is made.")] = None,
    params: ParamsFile = PARAMS,
    settings: Set = [],  # noqa: B006
    log: Log = None,
) -> None:
    """Infer, CRF, score and table for any checkpoint, the reference's too."""
    from rich.console import Console

    from unia.steps.evaluate import evaluate as step
    from unia.steps.table import show as render

    loaded = read(params, settings)
    data = data or Path("data") / dataset
    out = out or Path("results/evaluate") / f"{checkpoint.stem}_{dataset}_{split}"
    with running("evaluate", loaded, dataset, {"checkpoint": checkpoint, "data": data}, out, log, split):
        step(checkpoint, dataset, loaded.recipe(dataset), data, split, out)
    Console().print(render(out / "table.csv"))


@checkpoint_app.command("import")
def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="A checkpoint of the reference, VOC or COCO form.")],
    out: Out,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", help="Whose model it is; by default voc or coco, by its classes."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Prepared, for its classes; by default VOC's or COCO's own.")
    ] = None,
    params: ParamsFile = PARAMS,
    settings: Set = [],  # noqa: B006
) -> None:
    """Write a reference checkpoint as one of ours (.safetensors)."""
    from unia.data.samples import load_split
    from unia.steps.checkpoint import import_checkpoint as step
    from unia.steps.checkpoint import official

    if dataset is None or data is None:
        named, classes = official(file)
        dataset = dataset or named
    else:
        classes = load_split(data, "train").classes
    step(file, dataset, read(params, settings).recipe(dataset).model, classes, out)


@checkpoint_app.command("export")
def export_checkpoint(
    file: Annotated[Path, typer.Argument(help="One of our checkpoints.")],
    out: Out,
    form: Annotated[Form, typer.Option("--form", help="The reference's form.")] = Form.voc,
) -> None:
    """Write one of our checkpoints in the reference's form (torch.save)."""
    from unia.steps.checkpoint import export_checkpoint as step

    step(file, form.value, out)


@app.command()
def show(tables: Annotated[list[Path], typer.Argument(help="Tables of `unia table`.")]) -> None:
    """Print tables, readably."""
    from rich.console import Console

    from unia.steps.table import show as render

    for path in tables:
        Console().print(render(path))


def main() -> None:
    """Run a command; what the user can mend is one line and exit code 1."""
    try:
        app(standalone_mode=True)
    except UserError as error:
        _fail(str(error), error)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        _fail(f"{type(error).__name__}: {reason} (a fault of unia's; UNIA_TRACEBACK=1 shows where)", error)


def _fail(message: str, error: BaseException) -> None:
    if os.environ.get("UNIA_TRACEBACK"):
        traceback.print_exception(error)
    say(f"unia: {message}")
    sys.exit(1)
