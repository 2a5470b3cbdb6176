"""The training step by part, against a plain spelling of it: `python -m benchmarks.plain_step`.

The plain spelling computes the same losses the way one would write them first: every CAM pass runs the
whole network, scale by scale, image and mirror image apart, with all attention spelled out and 50 draws of
every token; PAR goes image by image and threshold by threshold over materialised neighbours; masks of pairs
are built anew. Both take the same batch in one run. Method sections 1 to 4.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.par import unfold
from benchmarks.train_step import generated_batch
from unia.config import load
from unia.model.network import UniA, build
from unia.refine.affinity import along, present_softmax, radius_mask, with_background
from unia.refine.cam import combine
from unia.refine.par import par_weights
from unia.refine.resize import resize
from unia.training import objective
from unia.training.loop import make_step
from unia.training.objective import Plan
from unia.training.optimiser import build_optimiser, set_learning_rate

PARTS = (
    "multi_scale_cams",
    "refined_labels",
    "ptc",
    "contrastive_affinity",
    "distribution",
    "segmentation",
    "energy",
)
DRAWS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="voc")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    arguments = parser.parse_args()
    settings = [f"recipe.train.batch={arguments.batch}", "recipe.model.weights=null", *arguments.settings]
    recipe = load(Path("params.yaml"), settings).recipe(arguments.dataset)
    torch.manual_seed(0)
    classes = 20
    model = build(recipe.model, classes).train()
    optimiser = build_optimiser(model, recipe.train)
    set_learning_rate(optimiser, 0, recipe.train)
    images, labels = generated_batch(recipe.train.batch, recipe.train.crop, classes)
    names = frozenset(type(recipe.losses).model_fields)
    plan = Plan(active=names, mutual=frozenset({"affinity", "distribution", "segmentation"}), late=True)
    step = make_step(model, recipe, optimiser, torch.device("cpu"))

    def run() -> dict[str, float]:
        losses = step(images, labels, int(labels.sum(1).max()), plan)
        return {name: round(float(loss), 5) for name, loss in losses.items()}

    found: dict[str, Any] = {
        "backbone": recipe.model.backbone,
        "batch": recipe.train.batch,
        "crop": recipe.train.crop,
        "threads": torch.get_num_threads(),
    }
    for name, spelling in (("unia", plainly(model, on=False)), ("plain", plainly(model, on=True))):
        state = {key: value.clone() for key, value in model.state_dict().items()}
        with spelling, timed(model) as seconds:
            start = time.perf_counter()
            losses = run()
            total = time.perf_counter() - start
        model.load_state_dict(state)
        rest = total - sum(seconds.values())
        parts = {**seconds, "backward, optimiser and rest": rest, "total": total}
        found[name] = {"losses": losses, "seconds": {key: round(value, 2) for key, value in parts.items()}}
    found["ratio"] = round(found["plain"]["seconds"]["total"] / found["unia"]["seconds"]["total"], 2)
    print(json.dumps(found, indent=2))


@contextmanager
def timed(model: UniA) -> Iterator[dict[str, float]]:
    """Seconds of the forward pass and of each of PARTS, as `unia.training.objective` calls them."""
    seconds: dict[str, float] = defaultdict(float)
    inside: list[str] = []

    def watch(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if inside:  # the network within the CAMs counts as theirs
                return function(*args, **kwargs)
            inside.append(name)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[name] += time.perf_counter() - start
                inside.pop()

        return call

    patches = [patch.object(objective, name, watch(name, getattr(objective, name))) for name in PARTS]
    patches.append(patch.object(model, "forward", watch("forward", model.forward)))
    for one in patches:
        one.start()
    try:
        yield seconds
    finally:
        for one in patches:
            one.stop()


@contextmanager
def plainly(model: UniA, on: bool) -> Iterator[None]:
    """While `on`, the step runs the plain spellings below."""
    if not on:
        yield
        return
    replaced: dict[str, Any] = {
        "multi_scale_cams": plain_cams,
        "refined_labels": plain_refined_labels,
        "sample_mean": plain_sample_mean,
        "radius_mask": radius_mask.__wrapped__,
    }
    attentions: list[Any] = [block.attn for block in model.backbone.vit.blocks]
    with patch.multiple(objective, **replaced):
        for attention in attentions:
            attention.fused_attn = False
        try:
            yield
        finally:
            for attention in attentions:
                attention.fused_attn = True


def plain_sample_mean(
    mean: Tensor, log_variance: Tensor, samples: int, generator: torch.Generator | None = None
) -> Tensor:
    """B N: the mean of explicit draws."""
    draws = [mean + (log_variance / 2).exp() * torch.randn_like(mean) for _ in range(samples)]
    return torch.stack(draws).mean(0).mean(2)


@torch.no_grad()
def plain_cams(
    model: UniA,
    images: Tensor,
    scales: Sequence[float],
    known: tuple[Tensor, Tensor],
    classes: Tensor,
) -> tuple[Tensor, Tensor]:
    """As `unia.model.cam.multi_scale_cams`."""
    size = (images.shape[-2], images.shape[-1])
    pairs: list[list[tuple[Tensor, Tensor]]] = [[], []]
    for scale in scales:
        target = (int(scale * size[0]), int(scale * size[1]))
        scaled = F.interpolate(images, target, mode="bilinear", align_corners=False)
        both = []
        for view in (scaled, scaled.flip(-1)):
            output = model(view)
            plain_sample_mean(output.mean, output.log_variance, DRAWS)
            both.append(model.cams(output.features, output.features_aux))
        for kept, straight, mirrored in zip(pairs, *both, strict=True):
            kept.append((chosen(straight, classes), chosen(mirrored, classes)))
    return combine(pairs[0], size), combine(pairs[1], size)


def chosen(cams: Tensor, classes: Tensor) -> Tensor:
    return torch.stack([cam[index] for cam, index in zip(cams, classes, strict=True)])


@torch.no_grad()
def plain_refined_labels(
    cams: Tensor,
    labels: Tensor,
    affinity: Tensor,
    images: Tensor,
    *,
    high: float,
    low: float,
    tokens: tuple[int, int],
    max_classes: int,
    dilations: Sequence[int],
    iterations: int,
) -> tuple[Tensor, Tensor]:
    """As `unia.refine.pseudo_label.refined_labels`, for labels that come first."""
    size = (cams.shape[-2], cams.shape[-1])
    half = (size[0] // 2, size[1] // 2)
    refined = []
    for spread in (False, True):
        agreed = []
        for i in range(len(cams)):
            own = slice(0, int(labels[i].sum()))
            present = labels[i : i + 1, own]
            found = []
            for background in (high, low):
                masks = with_background(cams[i : i + 1, own], background)
                if spread:
                    masks = present_softmax(resize(masks, tokens), present)
                    masks = resize(along(masks, affinity[i : i + 1]), half)
                else:
                    masks = present_softmax(resize(masks, half), present)
                weights = par_weights(resize(images[i : i + 1], half), dilations)[:, None]
                for _ in range(iterations):
                    masks = (unfold(masks, dilations) * weights).sum(2)
                found.append(resize(masks, size).argmax(1)[0])
            certain = torch.where(found[1] == 0, 0, 255)
            agreed.append(torch.where(found[0] == 0, certain, found[0]))
        refined.append(torch.stack(agreed))
    return refined[0], refined[1]


if __name__ == "__main__":
    main()
