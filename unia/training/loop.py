"""The training loop: batches in, a trained network out."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from unia.errors import UserError
from unia.losses.schedule import ActiveLosses
from unia.model.network import UniA
from unia.progress import track
from unia.recipe import Recipe
from unia.training.cuda_graph import CUDAGraphStep, Step
from unia.training.nan_guard import LIMIT, NaNGuard
from unia.training.noise import Noise
from unia.training.objective import Objective
from unia.training.optimiser import set_learning_rate
from unia.training.processes import Processes
from unia.training.stop import Stopped, stoppable

Batches = DataLoader[tuple[Tensor, ...]]
Log = Callable[[int, Mapping[str, float]], None]


class Diverged(UserError):
    """A loss is no longer a number, or beyond all measure: `losses`, first at `iteration` (from 0)."""

    def __init__(self, iteration: int, losses: list[str]):
        super().__init__(
            f"{', '.join(losses)} is not a number, or beyond {LIMIT:g}, at iteration {iteration + 1}"
        )
        self.iteration = iteration


def fit(
    model: UniA,
    optimiser: torch.optim.Optimizer,
    recipe: Recipe,
    batches: Batches,
    processes: Processes,
    start: int,
    log: Log,
    save: Callable[[int], None],
) -> None:
    """Train `model` in place from iteration `start` (from 0) to `recipe.train.iterations`.

    The first process calls `log` with (iteration, values) every `log_every` iterations and at the last:
    the learning rate of the backbone, each active loss, and their weighted sum `loss`; and `save` with
    the iteration every `save_every`, at the last, and when asked to stop. The iteration counts from 1 there.
    Raises Diverged, before anything is logged or saved of it, where a loss broke; Stopped when asked to
    by SIGTERM, SIGINT or SIGHUP, at the end of the step.
    """
    config = recipe.train
    noise, guard = Noise(config, processes), NaNGuard(processes)
    step = make_step(model, recipe, optimiser, processes.device, noise, processes)
    progress = track(batches, "train") if processes.is_main else None
    with stoppable() as stop:
        for iteration, (images, labels, *masks) in enumerate(progress or batches, start):
            rate = set_learning_rate(optimiser, iteration, config)
            noise.at(iteration)
            active = ActiveLosses.at(iteration, recipe.losses, recipe.pseudo_label)
            losses = step(images, labels, max(1, int(labels.sum(1).max())), active, *masks)
            guard.see(iteration, losses)

            done = iteration + 1
            (asked,) = processes.all_reduce_max([stop.signal])
            logged = done % config.log_every == 0 or done == config.iterations
            saved = done % config.save_every == 0 or done == config.iterations or asked
            broken = guard.broken() if logged or saved else None
            if broken:
                raise Diverged(*broken)
            if logged:
                values = _read(losses, processes)
                if progress is not None:
                    log(done, {"lr": rate, **values})
                    progress.status(f"loss {values['loss']:.4f}")
            if saved and processes.is_main:
                save(done)
            if asked:
                processes.all_reduce_max([0])  # wait for the first, which saves
                raise Stopped(asked, done)


def make_step(
    model: UniA,
    recipe: Recipe,
    optimiser: torch.optim.Optimizer,
    device: torch.device,
    noise: Noise | None = None,
    processes: Processes | None = None,
) -> Step:
    """The function (images, labels, most classes in one image, active losses[, masks]) -> losses of one step.

    The batch is computed in `accumulate` parts, whose losses and gradients are averaged; each normalises
    its losses by its own counts. Of several `processes` each computes its share of the parts: part k is
    every accumulate-th image from the k-th on. The losses, and their weighted sum as `loss`, stay on the
    device; those of several processes are shares, which add up. One process on a GPU records the step and
    replays it.
    """
    processes = processes or Processes(device)
    noise = noise or Noise(recipe.train, processes)
    objective, parts = Objective(model, recipe, device), recipe.train.accumulate
    generators = noise.generators

    def step(
        images: Tensor, labels: Tensor, max_classes: int, active: ActiveLosses, /, *masks: Tensor
    ) -> dict[str, Tensor]:
        optimiser.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for part, generator in enumerate(generators):
            own = slice(part, None, len(generators))
            own_masks = masks[0][own] if masks else None
            losses = objective(images[own], labels[own], max_classes, active, generator, own_masks)
            losses["loss"] = objective.total(losses)
            (losses["loss"] / parts).backward()
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0) + loss.detach() / parts
        processes.all_reduce_sum(p.grad for p in model.parameters() if p.grad is not None)
        zero_missing_gradients(model)
        optimiser.step()
        return sums

    if device.type == "cuda" and processes.count == 1:
        return CUDAGraphStep(step, device, generators)
    return lambda images, labels, max_classes, active, *masks: step(
        images.to(device, memory_format=torch.channels_last, non_blocking=True),
        labels.to(device, non_blocking=True),
        max_classes,
        active,
        *(mask.to(device, non_blocking=True) for mask in masks),
    )


def zero_missing_gradients(model: UniA) -> None:
    """A gradient of zero for each parameter that should have one and has none.

    A loss that does not count yet, or whose weight is 0, leaves parameters that only it reaches (the
    decoder, say) without a gradient, and AdamW would pass them by. The reference multiplies such a loss by
    0.0 instead: so AdamW decays these parameters and counts their steps, and when the loss sets in, the
    correction of young moments is over and the first updates are several times as large.
    """
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


def _read(losses: Mapping[str, Tensor], processes: Processes) -> dict[str, float]:
    """The losses of the whole batch, as numbers."""
    values = torch.stack(list(losses.values()))
    processes.all_reduce_sum([values])
    return dict(zip(losses, values.tolist(), strict=True))
