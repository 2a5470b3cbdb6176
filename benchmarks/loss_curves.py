"""Losses of the optimised training step against the plain spelling: `python -m benchmarks.loss_curves`.

The demo's small network is trained several times from the same weights on the same samples:

- float32: as `unia train` does;
- plain: the spelling of `benchmarks.plain_step`, with 50 explicit draws (given the mean that the other run
  drew), an optimiser without fused kernels and no channels_last;
- moved: as float32, but every weight starts one float32 step higher: what rounding alone does to a curve;
- bf16: as float32, with the network's passes in bf16, as on a GPU.

Prints each loss's largest and mean difference to float32, and draws the curves:
benchmarks/out/loss_curves.{png,csv}.
"""

import csv
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.plain_step import plainly
from benchmarks.report import OUT, Row, arguments, publish
from unia.config import load
from unia.data.samples import Split, load_split
from unia.data.stream import Positions, loader
from unia.losses import table
from unia.model.network import UniA, build
from unia.progress import say
from unia.recipe import Recipe
from unia.steps.download import download
from unia.steps.prepare import prepare
from unia.steps.train import CURVE
from unia.training import loop
from unia.training.loop import fit
from unia.training.objective import Objective
from unia.training.optimiser import build_optimiser, parameter_groups
from unia.training.processes import Processes

Curve = list[dict[str, float]]
CPU = torch.device("cpu")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), help="besides float32")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    options = parser.parse_args()
    settings = [
        "datasets.shapes.data={kind: shapes, size: 60, train: 200, val: 2, seed: 0}",
        f"datasets.shapes.train.iterations={options.iterations}",
        f"datasets.shapes.train.batch={options.batch}",
        "datasets.shapes.train.log_every=1",
        *options.settings,
    ]
    recipe = load(Path("params.yaml"), settings).recipe("shapes")
    with tempfile.TemporaryDirectory() as folder:
        raw, data = Path(folder) / "raw.json", Path(folder) / "data"
        download("shapes", recipe.data, raw)
        prepare("shapes", recipe.data, raw, data)
        split = load_split(data, "train")
        curves = {"float32": train(recipe, split, nullcontext, lambda model: None)}
        for name in options.runs:
            say(f"loss curves: {name}")
            curves[name] = train(recipe, split, *RUNS[name])
    OUT.mkdir(exist_ok=True)
    write(curves, OUT / "loss_curves.csv")
    draw(curves).savefig(OUT / "loss_curves.png", dpi=150)
    publish("loss_curves", compared(curves), options.save)


def train(
    recipe: Recipe,
    split: Split,
    spelling: Callable[[], AbstractContextManager[None]],
    change: Callable[[UniA], None],
) -> Curve:
    """The losses of every iteration; `change` is applied to the model before training."""
    torch.manual_seed(recipe.train.seed)
    model = build(recipe.model, len(split.classes)).train()
    change(model)
    curve: Curve = []

    def log(iteration: int, values: Mapping[str, float]) -> None:
        curve.append({"iteration": iteration, **values})

    positions = Positions(recipe.train.batch, 0, recipe.train.iterations)
    batches = loader(split, recipe.train, positions, pin=False)
    with spelling():
        optimiser = loop_optimiser(model, recipe, plain=spelling is plain)
        fit(model, optimiser, recipe, batches, Processes(CPU), 0, log, lambda iteration: None)
    return curve


def loop_optimiser(model: UniA, recipe: Recipe, plain: bool) -> torch.optim.Optimizer:
    """The optimiser of training; `plain`: parameter by parameter, without fused kernels."""
    if not plain:
        model.to(memory_format=torch.channels_last)
        return build_optimiser(model, recipe.train)
    groups = parameter_groups(model, recipe.train)
    return torch.optim.AdamW(groups, weight_decay=recipe.train.weight_decay, foreach=False, fused=False)


@contextmanager
def plain() -> Iterator[None]:
    """The plain spelling, but its draws have the mean that the optimised step draws."""
    with plainly(), patch.object(table, "sample_mean", given_sample_mean):
        yield


def given_sample_mean(
    mean: Tensor, log_variance: Tensor, samples: int, generator: torch.Generator | None = None
) -> Tensor:
    """B N: the mean of explicit draws, which are normal given that their mean is the one known.

    Normal draws less their mean do not depend on it: another may be put in its place.
    """
    known = torch.empty_like(mean).normal_(generator=generator) / samples**0.5
    noise = torch.randn(samples, *mean.shape)
    noise += known - noise.mean(0)
    draws = [mean + (log_variance / 2).exp() * one for one in noise]
    return torch.stack(draws).mean(0).mean(2)


@contextmanager
def bf16() -> Iterator[None]:
    """Training in bf16, which by itself only a GPU does."""

    class InBf16(Objective):
        def __init__(self, model: UniA, recipe: Recipe, device: torch.device):
            super().__init__(model, recipe, device)
            self._autocast = torch.autocast(device.type, torch.bfloat16)

    with patch.object(loop, "Objective", InBf16):
        yield


@torch.no_grad()
def move(model: UniA) -> None:
    """Every weight one float32 step up."""
    for parameter in model.parameters():
        parameter.copy_(torch.nextafter(parameter, torch.tensor(torch.inf)))


def keep(model: UniA) -> None:
    """The weights as they are."""


RUNS: dict[str, tuple[Callable[[], AbstractContextManager[None]], Callable[[UniA], None]]] = {
    "plain": (plain, keep),
    "moved": (nullcontext, move),
    "bf16": (bf16, keep),
}


def compared(curves: Mapping[str, Curve]) -> list[Row]:
    """For each loss and run: largest and mean |difference| to float32, over all and the first tenth."""
    rows: list[Row] = []
    reference = curves["float32"]
    for loss in CURVE[2:]:
        places = [i for i, row in enumerate(reference) if loss in row]
        if not places:
            continue
        values = np.array([reference[i][loss] for i in places])
        row: dict[str, object] = {"loss": loss, "mean": float(values.mean())}
        for name, curve in curves.items():
            if name != "float32":
                apart = np.abs(np.array([curve[i][loss] for i in places]) - values)
                row[f"{name} max"], row[f"{name} mean"] = float(apart.max()), float(apart.mean())
                row[f"{name} max, first tenth"] = float(apart[: max(1, len(apart) // 10)].max())
        rows.append(row)
    return rows


def write(curves: Mapping[str, Curve], path: Path) -> None:
    """A line for each run and iteration."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["run", *CURVE], lineterminator="\n")
        table.writeheader()
        table.writerows({"run": name, **row} for name, curve in curves.items() for row in curve)


def draw(curves: Mapping[str, Curve]) -> Figure:
    """A diagram for each loss, with a line for each run."""
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    for cell, loss in zip(figure.subplots(2, 4).flat, CURVE[2:], strict=True):
        for (name, curve), style in zip(curves.items(), ("-", "--", ":", "-"), strict=False):
            rows = [row for row in curve if loss in row]
            cell.plot(
                [row["iteration"] for row in rows], [row[loss] for row in rows], style, label=name, lw=1
            )
        cell.set_title(loss, fontsize=9)
        cell.tick_params(labelsize=7)
    figure.legend(list(curves), loc="outside lower center", ncols=len(curves))
    return figure


if __name__ == "__main__":
    main()
