"""The training step by part, against a plain spelling of it: `python -m benchmarks.plain_step`.

The plain spelling computes the same losses the way one would write them first: every CAM pass runs the
whole network, scale by scale, image and mirror image apart, with all attention spelled out and 50 draws of
every token; PAR goes image by image and threshold by threshold over materialised neighbours; masks of pairs
are built anew. Both take the same batch in one run, after steps to warm up where those are cheap. `--bf16`
adds our step with its CAM passes in bf16, which only pays where the CPU has instructions for it. Method
sections 1 to 4.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.par import unfold
from benchmarks.report import Row, arguments, operations, publish, share
from benchmarks.train_step import generated_batch
from unia.config import load
from unia.losses import batch, table
from unia.losses.schedule import ActiveLosses
from unia.model import backbone
from unia.model.cam import combine, multi_scale_cams
from unia.model.network import UniA, build
from unia.progress import say
from unia.refine import pseudo_label
from unia.refine.affinity import along, present_softmax, radius_mask, with_background
from unia.refine.par import par_weights
from unia.resize import resize
from unia.training import objective
from unia.training.loop import make_step
from unia.training.optimiser import build_optimiser, set_learning_rate

PARTS: dict[str, ModuleType] = {  # function -> the module that calls it
    "multi_scale_cams": objective,
    "refined_labels": pseudo_label,
    "ptc": table,
    "contrastive_affinity": table,
    "radius_mask": table,
    "sample_mean": table,
    "distribution": table,
    "segmentation": table,
    "energy": table,
}
DRAWS = 50
CHEAP = 5.0  # seconds of a step that is worth running again to warm up
CPU = torch.device("cpu")
Seconds = dict[str, float]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--dataset", default="voc")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    options = parser.parse_args()
    settings = [f"datasets.{options.dataset}.train.batch={options.batch}", *options.settings]
    recipe = load(Path("params.yaml"), settings).recipe(options.dataset)
    torch.manual_seed(0)
    classes = 20
    model = build(recipe.model, classes).to(memory_format=torch.channels_last).train()
    optimiser = build_optimiser(model, recipe.train)
    set_learning_rate(optimiser, 0, recipe.train)
    images, labels = generated_batch(recipe.train.batch, recipe.train.crop, classes)
    names = frozenset(type(recipe.losses).model_fields)
    active = ActiveLosses(names, frozenset({"affinity", "distribution", "segmentation"}), late=True)
    step = make_step(model, recipe, optimiser, CPU)
    state = {key: value.clone() for key, value in model.state_dict().items()}

    def run() -> dict[str, Tensor]:
        return step(images, labels, int(labels.sum(1).max()), active)

    say(f"{recipe.model.backbone}, batch {len(images)}, crop {recipe.train.crop}: warming up")
    start = time.perf_counter()
    count = operations(run)
    cheap = time.perf_counter() - start < CHEAP
    spellings: dict[str, Callable[[], AbstractContextManager[None]]] = {"unia": nullcontext}
    if options.bf16:
        spellings["unia, bf16 CAMs"] = bf16_cams
    spellings["plain"] = plainly
    found: dict[str, Seconds] = {}
    values: dict[str, dict[str, float]] = {}
    for name, spelling in spellings.items():
        with spelling():
            if cheap:
                run()
            model.load_state_dict(state)
            with by_part(model, optimiser) as seconds:
                start = time.perf_counter()
                losses = run()
                total = time.perf_counter() - start
        found[name] = {**seconds, "rest": total - sum(seconds.values()), "total": total}
        values[name] = {key: float(loss) for key, loss in losses.items()}
        say(f"{name}: {total:.1f} s")
    about = {
        "backbone": recipe.model.backbone,
        "batch": len(images),
        "crop": recipe.train.crop,
        "threads": torch.get_num_threads(),
        "tflop": round(count / 1e12, 3),
        "share of peak": share(count, found["unia"]["total"], CPU),
    }
    publish("plain_step", [about, *compared(found), *equal(values)], options.save)


def compared(found: dict[str, Seconds]) -> list[Row]:
    """Seconds of each part, and how many times ours the plain spelling takes."""
    rows: list[Row] = []
    ours = [name for name in found if name != "plain"]
    for part in dict.fromkeys(part for seconds in found.values() for part in seconds):
        row: dict[str, object] = {"part": part}
        row.update({name: round(seconds.get(part, 0.0), 3) for name, seconds in found.items()})
        for name in ours:
            if found[name].get(part):
                row[f"plain / {name}"] = round(found["plain"].get(part, 0.0) / found[name][part], 2)
        rows.append(row)
    return rows


def equal(values: dict[str, dict[str, float]]) -> list[Row]:
    """The losses of each spelling. Those of the distribution differ by their draws."""
    names = values["plain"]
    return [{"loss": loss, **{name: losses[loss] for name, losses in values.items()}} for loss in names]


@contextmanager
def by_part(model: UniA, optimiser: torch.optim.Optimizer) -> Iterator[Seconds]:
    """Seconds of forward, backward, optimiser and each of PARTS."""
    seconds: Seconds = defaultdict(float)
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

    patches = [
        patch.object(module, name, watch(name, getattr(module, name))) for name, module in PARTS.items()
    ]
    patches += [
        patch.object(model, "forward", watch("forward", model.forward)),
        patch.object(Tensor, "backward", watch("backward", Tensor.backward)),
        patch.object(optimiser, "step", watch("optimiser", optimiser.step)),
    ]
    for one in patches:
        one.start()
    try:
        yield seconds
    finally:
        for one in patches:
            one.stop()


@contextmanager
def plainly() -> Iterator[None]:
    """Meanwhile the step runs the plain spellings below."""
    with (
        patch.object(objective, "multi_scale_cams", plain_cams),
        patch.object(pseudo_label, "refined_labels", plain_refined_labels),
        patch.object(table, "sample_mean", plain_sample_mean),
        patch.object(table, "radius_mask", radius_mask.__wrapped__),
        patch.object(batch, "resize_by_matrix", plain_resize),
        patch.object(backbone, "resize_by_matrix", plain_resize),
        sdpa_kernel(SDPBackend.MATH),  # attention spelled out
    ):
        yield


@contextmanager
def bf16_cams() -> Iterator[None]:
    """Meanwhile the step's CAM passes run in bf16."""

    def in_bf16(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            return multi_scale_cams(*args, **kwargs)

    with patch.object(objective, "multi_scale_cams", in_bf16):
        yield


def plain_resize(maps: Tensor, size: tuple[int, int], mode: str = "linear") -> Tensor:
    """As `unia.resize.resize_by_matrix`."""
    how = "bilinear" if mode == "linear" else "bicubic"
    return F.interpolate(maps, size, mode=how, align_corners=False)


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
