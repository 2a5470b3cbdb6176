"""The training loop: batches in, a trained network out."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from unia.config import Recipe
from unia.errors import UserError
from unia.model.network import UniA
from unia.progress import track
from unia.training.objective import Objective, Plan
from unia.training.optimiser import build_optimiser, set_learning_rate

Log = Callable[[int, Mapping[str, float]], None]


def fit(
    model: UniA, recipe: Recipe, batches: DataLoader[tuple[Tensor, Tensor]], device: torch.device, log: Log
) -> None:
    """Train `model` in place for `recipe.train.iterations`.

    `log` receives (iteration, values) every `log_every` iterations and at the last: the learning rate
    of the backbone, each active loss, and their weighted sum `loss`. The iteration counts from 1 there.
    Raises UserError where a loss is no longer a number.
    """
    config = recipe.train
    model.to(device, memory_format=torch.channels_last).train()
    objective = Objective(model, recipe, device)
    optimiser = build_optimiser(model, config)
    progress = track(batches, "train")
    for iteration, (images, labels) in enumerate(progress):
        rate = set_learning_rate(optimiser, iteration, config)
        plan = Plan.at(iteration, recipe.losses, recipe.pseudo_label)
        losses = step(objective, optimiser, images, labels, plan, config.accumulate)
        if (iteration + 1) % config.log_every == 0 or iteration + 1 == config.iterations:
            values = {name: float(value) for name, value in losses.items()}
            _check(values, iteration + 1)
            log(iteration + 1, {"lr": rate, **values})
            progress.status(f"loss {values['loss']:.4f}")


def step(
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    plan: Plan,
    parts: int,
) -> dict[str, Tensor]:
    """One optimiser step on a batch, computed in `parts`; the losses, averaged over them, on the device."""
    optimiser.zero_grad(set_to_none=True)
    device = objective.device
    sums: dict[str, Tensor] = {}
    for some, few in zip(images.chunk(parts), labels.chunk(parts), strict=True):
        max_classes = max(1, int(few.sum(1).max()))
        some = some.to(device, non_blocking=True, memory_format=torch.channels_last)
        losses = objective(some, few.to(device, non_blocking=True), max_classes, plan)
        total = objective.total(losses)
        (total / parts).backward()
        for name, loss in {**losses, "loss": total}.items():
            sums[name] = sums.get(name, 0) + loss.detach() / parts
    optimiser.step()
    return sums


def _check(values: Mapping[str, float], iteration: int) -> None:
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise UserError(
            f"training diverged: {', '.join(broken)} is not a number at iteration {iteration}; "
            "lower train.lr and train.head_lr, or train with precision: float32"
        )
