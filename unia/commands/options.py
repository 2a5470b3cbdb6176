"""What every command shares: its arguments, the options that read params.yaml, and its recorded run."""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial, wraps
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from unia.config import Params, load
from unia.errors import UserError
from unia.files import alone
from unia.inherited import check_seen
from unia.layers import settings_between
from unia.pipeline import STEPS
from unia.progress import log_to, say
from unia.tracking.owned import keep_full, owned
from unia.tracking.parents import lineage
from unia.tracking.run import Run
from unia.tracking.runs import step_run


def vacant(path: Path | None) -> Path | None:
    """A file to write that no receipt will tell of. UserError where one lies there: it may be anybody's."""
    if path is not None and path.exists():
        raise UserError(f"{path}: is there already; remove it, or name another place")
    return path


Dataset = Annotated[str, typer.Argument(help="A dataset of params.yaml.")]
RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A dataset, or one training of its ablation: <dataset>/<variant>/<seed>."
    ),
]
ParamsFile = Annotated[
    Path, typer.Option("--params", envvar="UNIA_PARAMS", help="The parameters of every step.")
]
Set = Annotated[list[str], typer.Option("--set", help="Override a parameter: recipe.crf.iterations=5.")]
Log = Annotated[Path | None, typer.Option("--log", help="Also write what is shown here to this file.")]
Data = Annotated[Path, typer.Option("--data", help="The prepared dataset's folder.")]
Split = Annotated[str, typer.Option("--split", help="train, val or test.")]
Out = Annotated[Path, typer.Option("--out", help="What to write.")]
NewFile = Annotated[Path, typer.Option("--out", help="The new file to write.", callback=vacant)]
Predictions = Annotated[Path, typer.Option("--predictions", help="The folder of `unia infer`.")]

PartOf = Annotated[
    str,
    typer.Option(
        "--part",
        metavar="N-of-M",
        help="Compute a part of the images; the same command without it then puts all together.",
    ),
]

P = ParamSpec("P")
NOTHING: Mapping[str, Path] = MappingProxyType({})


def reads_params(step: Callable[Concatenate[Params, P], None]) -> Callable[..., None]:
    """A command whose first argument is params.yaml, from the options --params, --set and --log.

    The settings of the environment (UNIA_SET, one a line) come before those of the command line; what the
    command says goes to the file of --log too. A stage of DVC refuses the former, which DVC does not see, and
    an output behind a link, where DVC keeps none; and it fails where its parameters are others in the end:
    DVC reads them once it is done, and would take its result for one of these.
    """

    @wraps(step)
    def command(params: Path, settings: list[str], log: Path | None, *args: Any, **kwargs: Any) -> None:
        inherited = os.environ.get("UNIA_SET", "").splitlines()
        in_dvc = "DVC_STAGE" in os.environ
        if in_dvc:
            _check_stage(kwargs.get("out"))
        with log_to(log):
            read = load(params, [*inherited, *settings])
            step(read, *args, **kwargs)
            if in_dvc and step.__name__ in STEPS:
                name = kwargs.get("name") or kwargs["dataset"]
                _check_unchanged(step.__name__, name, read, load(params, settings))

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
    name: str,
    inputs: Mapping[str, Path],
    out: Path | Mapping[str, Path],
    split: str | None = None,
    made_too: Mapping[str, Path] = NOTHING,
) -> Iterator[Run]:
    """Record a step of the run `name` in MLflow, with the sections of the recipe that it reads.

    Raises UserError if another process is writing this output (the processes of one training count as one),
    if the output, or `made_too`, which the step writes as well, holds files that are not its own, and if a
    trial would replace full results.
    """
    first = os.environ.get("RANK", "0") == "0"
    for key, winning in params.without_effect(name, STEPS[step]) if first else ():
        say(f"warning: {key} was set, but changes nothing of {name}, which has {winning}; set that instead")
    recipe = params.recipe(name).model_dump(mode="json")
    settings = {section: recipe[section] for section in STEPS[step]}
    outputs = out if isinstance(out, Mapping) else {"out": out}
    parents = lineage(name, params.size, recipe, ablation=step == "ablation")
    keep_full(step, params.size, outputs.values())
    with (
        alone(next(iter(outputs.values()))) if first else nullcontext(),
        owned({**outputs, **made_too}) if first else nullcontext(),
        step_run(
            step, name, settings, inputs, outputs, parents=parents, size=params.size, split=split
        ) as run,
    ):
        yield run


def _check_unchanged(step: str, name: str, before: Params, after: Params) -> None:
    """UserError where a step's parameters were edited while it ran."""
    read = set(STEPS[step])
    was, now = (params.recipe(name).model_dump(mode="json", include=read) for params in (before, after))
    changed = settings_between(was, now)
    if changed:
        raise UserError(
            f"params.yaml was edited while {step} ran (now {', '.join(changed)}): DVC would take its result "
            "for one of these parameters; run `dvc repro` again"
        )


def _check_stage(out: Path | None) -> None:
    """UserError for what DVC does not see, or refuses itself when all is computed."""
    check_seen()
    if out is not None and not out.parent.resolve().is_relative_to(Path.cwd()):
        raise UserError(
            f"{out}: lies behind a link to {out.parent.resolve()}, where DVC keeps no outputs: "
            "use `snakemake`, or mount the larger disk there instead of linking it"
        )
