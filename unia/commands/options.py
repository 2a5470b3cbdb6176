"""What every command shares: its arguments, the options that read params.yaml, and its recorded run."""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from unia.config import Params, load
from unia.progress import log_to
from unia.recipe import STEPS
from unia.tracking.runs import Run, step_run

Dataset = Annotated[str, typer.Argument(help="A dataset of params.yaml.")]
ParamsFile = Annotated[Path, typer.Option("--params", help="The parameters of every step.")]
Set = Annotated[list[str], typer.Option("--set", help="Override a parameter: recipe.crf.iterations=5.")]
Log = Annotated[Path | None, typer.Option("--log", help="Also write what is shown here to this file.")]
Data = Annotated[Path, typer.Option("--data", help="The prepared dataset's folder.")]
Split = Annotated[str, typer.Option("--split", help="train, val or test.")]
Out = Annotated[Path, typer.Option("--out", help="What to write.")]
Predictions = Annotated[Path, typer.Option("--predictions", help="The folder of `unia infer`.")]

P = ParamSpec("P")


def reads_params(step: Callable[Concatenate[Params, P], None]) -> Callable[..., None]:
    """A command whose first argument is params.yaml, from the options --params, --set and --log.

    The settings of the environment (UNIA_SET, one a line) come before those of the command line; what the
    command says goes to the file of --log too.
    """

    @wraps(step)
    def command(params: Path, settings: list[str], log: Path | None, *args: Any, **kwargs: Any) -> None:
        with log_to(log):
            step(load(params, [*os.environ.get("UNIA_SET", "").splitlines(), *settings]), *args, **kwargs)

    option = partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY)
    options = [
        option("params", default=Path("params.yaml"), annotation=ParamsFile),
        option("settings", default=[], annotation=Set),
        option("log", default=None, annotation=Log),
    ]
    _, *own = inspect.signature(step).parameters.values()
    vars(command)["__signature__"] = inspect.Signature([*own, *options])
    command.__annotations__ = {p.name: p.annotation for p in [*own, *options]}
    return command


@contextmanager
def running(
    step: str,
    params: Params,
    dataset: str,
    inputs: Mapping[str, Path],
    out: Path,
    split: str | None = None,
) -> Iterator[Run]:
    """Record a step's run in MLflow, with the sections of the recipe that it reads."""
    recipe = params.recipe(dataset)
    settings = {section: getattr(recipe, section).model_dump(mode="json") for section in STEPS[step]}
    with step_run(step, dataset, settings, inputs, {"out": out}, size=params.size, split=split) as run:
        yield run
