"""Our training iterations beside the 14 that the reference made (tests/golden/trajectory.npz).

Method sections 1 to 5 as a whole: the published recipes of VOC and COCO at toy size, across every switch.
Weights are drawn by a rule, images are synthetic, the noise of the distribution's sample is given.
"""

import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from reference_weights import draw_all
from torch import Tensor

from unia.config import load
from unia.data.normalise import MEAN, STD
from unia.losses import table
from unia.losses.schedule import ActiveLosses
from unia.model.checkpoint import from_reference, load_tensors, to_reference
from unia.model.network import UniA, build
from unia.recipe import Recipe
from unia.refine.pseudo_label import PseudoLabels
from unia.training import objective
from unia.training.loop import make_step
from unia.training.optimiser import build_optimiser, set_learning_rate

Golden = Mapping[str, NDArray[Any]]
ROOT = Path(__file__).parents[2]
ITERATIONS = 14
CPU = torch.device("cpu")
TOY = {
    "model.backbone": "vit_tiny_patch16_224",
    "model.vit": "{img_size: 112, patch_size: 16, embed_dim: 96, depth: 12, num_heads: 4}",
    "model.uncertainty.hidden": 64,
    "model.uncertainty.heads": 4,
    "model.uncertainty.pooling": 4,
    "model.uncertainty.mlp": "[96, 32]",
    "model.decoder.channels": 32,
    "pseudo_label.radius": 3,
    "train.crop": 128,
    "infer.size": 128,
    "train.iterations": ITERATIONS,
    "train.lr": 2.0e-4,
    "train.head_lr": 2.0e-3,
    "train.precision": "float32",
}
# The published switches, brought forward; thresholds, scales and weights are those of params.yaml.
SWITCHES: Mapping[str, Mapping[str, object]] = {
    "voc": {
        "losses.segmentation.after": 3,
        "losses.energy.after": 3,
        "pseudo_label.late_after": 7,
        "losses.distribution.mutual_after": 9,
        "train.warmup": 4,
        "train.batch": 2,
    },
    "coco": {
        "losses.ptc.after": 2,
        "losses.affinity.after": 4,
        "losses.segmentation.after": 6,
        "losses.energy.after": 6,
        "pseudo_label.late_after": 8,
        "losses.affinity.mutual_after": 10,
        "losses.distribution.mutual_after": 10,
        "losses.segmentation.mutual_after": 10,
        "train.warmup": 3,
        "train.batch": 4,
        "train.accumulate": 2,
    },
}
KEY_BIASES = ("in_proj_bias", "qkv.bias")
"""A third of these adds to all keys alike and changes no attention: its gradient is nothing but rounding."""


class Difference(NamedTuple):
    """How far an array of ours is from the reference's after an iteration (from 0)."""

    iteration: int
    kind: str  # loss, energy, rate, label, gradient or weight
    array: str
    size: float  # labels: wrong pixels; rates: absolute; else relative, to the largest for weights


class Noise:
    """The given draws of the distribution's sample, in the place of `sample_mean`."""

    def __init__(self, recipe: Recipe, device: torch.device, dtype: torch.dtype):
        size = recipe.train.batch // recipe.train.accumulate
        # In buffers that stay where they are, for steps that are recorded.
        self._parts = torch.zeros(recipe.train.accumulate, size, 64, 96, device=device, dtype=dtype)
        self._next = 0

    def at(self, iteration: int) -> None:
        self._next = 0
        for part, buffer in enumerate(self._parts):
            generator = np.random.Generator(np.random.PCG64(zlib.crc32(f"noise {iteration} {part}".encode())))
            buffer.copy_(torch.from_numpy(generator.standard_normal(buffer.shape, dtype=np.float32)))

    def __call__(self, mean: Tensor, log_variance: Tensor, samples: int, _: object = None) -> Tensor:
        noise = self._parts[self._next % len(self._parts)]
        self._next += 1
        return (mean + (log_variance / 2).exp() * noise / samples**0.5).mean(2)


def toy_recipe(dataset: str, settings: Mapping[str, object] | None = None) -> Recipe:
    """The published recipe of `dataset`, voc or coco, at toy size, with further `settings`."""
    chosen = {**TOY, **SWITCHES[dataset], **(settings or {})}
    return load(
        ROOT / "params.yaml", [f"datasets.{dataset}.{key}={value}" for key, value in chosen.items()]
    ).recipe(dataset)


def as_float64() -> AbstractContextManager[object]:
    """What training computes in float32 is computed in float64."""
    return patch.object(torch.Tensor, "float", lambda self: self.double())


def differences(
    dataset: str,
    golden: Golden,
    recipe: Recipe,
    dtype: torch.dtype,
    device: torch.device = CPU,
) -> Generator[Difference]:
    """Train `recipe` from the reference's start; all differences, iteration by iteration.

    Close it where it is not read to its end.

    On a GPU the step is recorded, so only losses, rates and weights can be read.
    """
    model = _drawn(golden, dataset, recipe).to(device, dtype).train()
    optimiser = build_optimiser(model, recipe.train)
    images, labels = _batches(golden, dtype)
    most = int(labels.sum(1).max())
    noise = Noise(recipe, device, dtype)
    with patch.object(table, "sample_mean", noise), _watched() as (made, targets):
        step = make_step(model, recipe, optimiser, device)
        for iteration, batch in enumerate(golden[f"{dataset}_batch"]):
            set_learning_rate(optimiser, iteration, recipe.train)
            noise.at(iteration)
            active = ActiveLosses.at(iteration, recipe.losses, recipe.pseudo_label)
            losses = step(images[batch], labels[batch], most, active)
            expected = _at(iteration, _below(f"{dataset}_", golden))
            found = [
                *_losses(losses, expected),
                *_rates(optimiser, expected),
                *(_labels(made, targets, expected) if device.type == "cpu" else ()),
                *(_gradients(model, expected) if device.type == "cpu" else ()),
                *_weights(model, expected),
            ]
            yield from (Difference(iteration, *one) for one in found)
            made.clear()
            targets.clear()


Found = Iterator[tuple[str, str, float]]


def _losses(losses: Mapping[str, Tensor], expected: Golden) -> Found:
    for name, loss in losses.items():
        reference = float(expected[f"loss_{name}"])
        kind = "energy" if name == "energy" else "loss"
        yield kind, f"loss_{name}", abs(loss.item() - reference) / abs(reference)


def _rates(optimiser: torch.optim.Optimizer, expected: Golden) -> Found:
    rates = [float(group["lr"]) for group in optimiser.param_groups]
    yield "rate", "lr", float(np.abs(np.array(rates) - expected["lr"]).max())


def _labels(made: list[PseudoLabels], targets: list[Tensor], expected: Golden) -> Found:
    for name, of in LABELS.items():
        label = torch.cat([pseudo.named(of(pseudo)) for pseudo in made]).numpy()
        yield "label", f"label_{name}", float((label != expected[f"label_{name}"]).sum())
    wrong = np.abs(torch.cat(targets).numpy() - expected["distribution_target"]) > 1e-6
    yield "label", "distribution_target", float(wrong.sum())


LABELS: Mapping[str, Callable[[PseudoLabels], Tensor]] = {
    "tokens": lambda pseudo: pseudo.auxiliary_tokens,
    "pseudo": lambda pseudo: pseudo.thresholded,
    "refined": lambda pseudo: pseudo.refined,
    "affinity_refined": lambda pseudo: pseudo.affinity_refined,
    "mutual": lambda pseudo: pseudo.mutual,
}


def _gradients(model: UniA, expected: Golden) -> Found:
    norms = {
        name: torch.zeros(()) if p.grad is None else p.grad.norm()
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    ours = to_reference(norms)
    theirs = dict(zip(expected["grad_names"], expected["grad_norms"], strict=True))
    assert ours.keys() == theirs.keys()
    for name, reference in theirs.items():
        yield "gradient", f"grad {name}", abs(ours[name].item() - reference) / max(reference, 1e-12)


def _weights(model: UniA, expected: Golden) -> Found:
    ours = to_reference({name: p.detach().double().cpu() for name, p in model.named_parameters()})
    sums = zip(expected["weight_names"], expected["weight_sums"], expected["weight_norms"], strict=True)
    for name, total, norm in sums:
        if name.endswith(KEY_BIASES):
            continue
        weight = ours[name]
        off = abs(weight.sum().item() - total) / weight.abs().sum().item()
        yield "weight", f"weight {name}", max(off, abs(weight.norm().item() / norm - 1))
    for name, reference in _below("after_", expected).items():
        theirs = torch.from_numpy(reference).double()
        # Written down in float32, of which each number may be off by a rounding of its own.
        off = ((ours[name] - theirs).abs() - 2.0**-24 * theirs.abs()).clamp(min=0).max().item()
        yield "weight", f"after {name}", off / theirs.abs().max().item()


def _drawn(golden: Golden, dataset: str, recipe: Recipe) -> UniA:
    """The network with the weights that the reference started from."""
    shapes = {
        name: [int(side) for side in shape.split("x") if side]
        for name, shape in zip(
            golden[f"{dataset}_weight_names"], golden[f"{dataset}_weight_shapes"], strict=True
        )
    }
    model = build(recipe.model, golden["labels"].shape[1])
    load_tensors(model, from_reference(draw_all(shapes)), "the drawn weights")
    return model


def _batches(golden: Golden, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(normalised images, labels in {0, 1}) of all samples.

    Colours lie half-way between two levels, so that truncation to 8 bits is the same for every rounding.
    """
    images = torch.from_numpy((golden["images"].astype(np.float64) + 0.5) / 255).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (MEAN, STD))
    return ((images - mean) / std).to(dtype), torch.from_numpy(golden["labels"]).to(dtype)


@contextmanager
def _watched() -> Iterator[tuple[list[PseudoLabels], list[Tensor]]]:
    """The pseudo labels that each part of a step makes, and the targets of its distribution loss."""
    made: list[PseudoLabels] = []
    targets: list[Tensor] = []
    confident: Callable[..., Tensor] = vars(table)["confident"]  # which a test may have spoilt

    class Kept(PseudoLabels):
        def __init__(self, *arguments: Any):
            super().__init__(*arguments)
            made.append(self)

    def kept(*arguments: Any) -> Tensor:
        targets.append(confident(*arguments))
        return targets[-1]

    with patch.object(objective, "PseudoLabels", Kept), patch.object(table, "confident", kept):
        yield made, targets


def _at(iteration: int, arrays: Golden) -> Golden:
    """The arrays' rows of an iteration; names are the same throughout."""
    return {key: value if value.dtype.kind == "U" else value[iteration] for key, value in arrays.items()}


def _below(prefix: str, arrays: Golden) -> dict[str, NDArray[Any]]:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
