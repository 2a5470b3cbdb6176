"""`unia train`: from a prepared dataset to a checkpoint and its curve of losses."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from unia.data.samples import Split, load_split
from unia.data.stream import Positions, SampleStream, loader
from unia.errors import UserError
from unia.files import atomic
from unia.losses.schedule import ActiveLosses
from unia.model.checkpoint import Header, load_backbone, save_checkpoint
from unia.model.network import UniA, build
from unia.progress import say
from unia.recipe import Losses, Recipe
from unia.training.deterministic import use_deterministic
from unia.training.faults import explained
from unia.training.loop import Diverged, fit
from unia.training.optimiser import build_optimiser
from unia.training.processes import Processes, check_shares, process_group
from unia.training.state import Row, State, States, identity
from unia.training.stop import Stopped

CURVE = ("iteration", "lr", "loss", *Losses.model_fields)  # the columns of losses.csv
Log = Callable[[int, Mapping[str, float]], None]


def train(dataset: str, recipe: Recipe, data: Path, out: Path, log: Log) -> None:
    """Train on the split `train` of the prepared folder `data`.

    Writes the folder `out`: `checkpoint.safetensors` and `losses.csv` (a row per logged iteration).
    `log` also receives each row. A training that was killed or stopped before goes on from its last state,
    in `<out>.state/`; one that was done before is not done again, unless another one was since. Raises
    UserError for data without labels, weights that do not fit, a loss that broke, a sample that cannot be
    read, and want of memory; Stopped when asked to stop.
    """
    split = load_split(data, "train")
    if any(sample.labels is None for sample in split.samples):
        raise UserError(f"{data}: the split train has no image-level labels; nothing to learn from")
    without = sum(sample.mask is None for sample in split.samples)
    if recipe.train.supervision == "masks" and without:
        raise UserError(f"train.supervision: masks, but {without} images of {data}'s split train have none")
    use_deterministic(recipe.train.deterministic)
    with process_group() as processes:
        check_shares(recipe.train, processes.count)
        states = States(out.with_name(f"{out.name}.state"), identity(recipe, data))
        model, rows = _train(dataset, recipe, split, states, processes, log)
        if processes.is_main:
            config = recipe.train
            header = Header(recipe.model, split.classes, dataset, config.iterations, config.crop, split.tile)
            write(model, header, rows, out)
            states.finish(recipe.train.iterations, model, rows)


def _train(
    dataset: str, recipe: Recipe, split: Split, states: States, processes: Processes, log: Log
) -> tuple[UniA, list[Row]]:
    """The trained network, and the rows of its curve."""
    config = recipe.train
    saved = states.newest()
    model = start(recipe, split, saved)
    model.to(processes.device).to(memory_format=torch.channels_last).train()
    optimiser = build_optimiser(model, config)
    rows: list[Row] = []
    done = 0
    if saved is not None:
        saved.restore(model, optimiser)
        rows, done = saved.rows, saved.iteration
    processes.broadcast(model.state_dict().values())
    if processes.is_main:
        _announce(dataset, recipe, split, model, processes, states, saved)
    for row in rows:
        log(int(row["iteration"]), {name: value for name, value in row.items() if name != "iteration"})

    def record(iteration: int, values: Mapping[str, float]) -> None:
        rows.append({"iteration": iteration, **values})
        log(iteration, values)

    def save(iteration: int) -> None:
        states.save(iteration, model, optimiser, rows)

    positions = Positions(config.batch, done, config.iterations, processes.rank, processes.count)
    workers = -(-config.workers // processes.count)
    config = config.model_copy(update={"workers": workers})
    batches = loader(split, config, positions, pin=processes.device.type == "cuda")
    stream = batches.dataset
    assert isinstance(stream, SampleStream)
    try:
        with explained(config, stream):
            fit(model, optimiser, recipe, batches, processes, done, record, save)
    except Diverged as error:
        first = error.iteration * config.batch
        names = ", ".join(stream.sample(place).name for place in range(first, first + config.batch))
        good = states.newest()
        kept = f"; the last good state is of iteration {good.iteration}, in {good.path}" if good else ""
        raise UserError(
            f"training diverged: {error}, on the samples {names}{kept}; lower train.lr and train.head_lr, "
            "or train with precision: float32"
        ) from None
    except Stopped as stopped:
        if processes.is_main:
            say(
                f"train: stopped by {stopped.signal} at iteration {stopped.iteration} of "
                f"{config.iterations}; the state is saved, run the step again to go on"
            )
        raise
    finally:
        stream.close()
    return model, rows


def _announce(
    dataset: str,
    recipe: Recipe,
    split: Split,
    model: UniA,
    processes: Processes,
    states: States,
    saved: State | None,
) -> None:
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    device = processes.device.type
    say(
        f"train {dataset}: {len(split.samples)} images, {len(split.classes)} classes, "
        f"{recipe.model.backbone}, {parameters:.1f} M parameters, on "
        + (device if processes.count == 1 else f"{processes.count} x {device}")
    )
    if saved is not None and saved.iteration == recipe.train.iterations:
        say(f"train: was done before, and is kept in {saved.path}; remove that to train anew")
    elif saved is not None:
        say(f"train: goes on from iteration {saved.iteration}, saved in {saved.path}")
    elif changed := states.others():
        say(f"train: {states.folder} holds a state of other {' and '.join(changed)}; training starts anew")
    if late := too_late(recipe):
        say(
            f"warning: train.iterations: {recipe.train.iterations}: training is over before these losses "
            f"count, and what they teach is not learned: {', '.join(late)}; lower losses.{late[0]}.after"
        )


def too_late(recipe: Recipe) -> list[str]:
    """The losses that have a weight, but begin to count when training is over."""
    last = ActiveLosses.at(recipe.train.iterations - 1, recipe.losses, recipe.pseudo_label)
    weights = {name: getattr(recipe.losses, name).weight for name in type(recipe.losses).model_fields}
    return [name for name, weight in weights.items() if weight > 0 and name not in last.names]


def write(model: UniA, header: Header, rows: list[Row], out: Path) -> None:
    """The folder `out` with the checkpoint and the curve; UserError where it cannot be written."""
    try:
        with atomic(out) as folder:
            folder.mkdir()
            save_checkpoint(model, header, folder / "checkpoint.safetensors")
            with (folder / "losses.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, CURVE, restval="", lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror}); mend that and run the step again: "
            "the training itself is done, and kept"
        ) from None


def start(recipe: Recipe, split: Split, saved: State | None) -> UniA:
    """The network before its first step: pretrained weights as the recipe says, the rest drawn.

    Without these where a saved state will replace all.
    """
    torch.manual_seed(recipe.train.seed)
    model = build(recipe.model, len(split.classes), pretrained=saved is None)
    patch = model.backbone.patch
    if recipe.train.crop % patch:
        raise UserError(
            f"train.crop: {recipe.train.crop} is no multiple of the backbone's patches of {patch}"
        )
    if recipe.model.weights_file is not None and saved is None:
        load_backbone(model, recipe.model.weights_file)
    return model
