"""The training loop: batches in, a trained network out."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from unia.errors import UserError
from unia.model.network import UniA
from unia.progress import track
from unia.recipe import Recipe
from unia.training.objective import Objective, Plan
from unia.training.optimiser import build_optimiser, set_learning_rate
from unia.training.recorded import RecordedStep, Step

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
    model.to(device).to(memory_format=torch.channels_last).train()
    optimiser = build_optimiser(model, config)
    step = make_step(model, recipe, optimiser, device)
    progress = track(batches, "train")
    for iteration, (images, labels) in enumerate(progress):
        rate = set_learning_rate(optimiser, iteration, config)
        plan = Plan.at(iteration, recipe.losses, recipe.pseudo_label)
        losses = step(images, labels, max(1, int(labels.sum(1).max())), plan)
        if (iteration + 1) % config.log_every == 0 or iteration + 1 == config.iterations:
            values = {name: float(value) for name, value in losses.items()}
            _check(values, iteration + 1)
            log(iteration + 1, {"lr": rate, **values})
            progress.status(f"loss {values['loss']:.4f}")


def make_step(model: UniA, recipe: Recipe, optimiser: torch.optim.Optimizer, device: torch.device) -> Step:
    """The function (images, labels, most classes in one image, plan) -> losses that makes one step.

    The batch is computed in `accumulate` parts, whose losses and gradients are averaged; the losses, and
    their weighted sum as `loss`, stay on the device. On a GPU the step is recorded and replayed.
    """
    objective, parts = Objective(model, recipe, device), recipe.train.accumulate

    def step(images: Tensor, labels: Tensor, max_classes: int, plan: Plan) -> dict[str, Tensor]:
        optimiser.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for some, few in zip(images.chunk(parts), labels.chunk(parts), strict=True):
            losses = objective(some, few, max_classes, plan)
            losses["loss"] = objective.total(losses)
            (losses["loss"] / parts).backward()
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0) + loss.detach() / parts
        optimiser.step()
        return sums

    if device.type == "cuda":
        return RecordedStep(step, device)
    return lambda images, labels, max_classes, plan: step(
        images.to(memory_format=torch.channels_last), labels, max_classes, plan
    )


def _check(values: Mapping[str, float], iteration: int) -> None:
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise UserError(
            f"training diverged: {', '.join(broken)} is not a number at iteration {iteration}; "
            "lower train.lr and train.head_lr, or train with precision: float32"
        )
