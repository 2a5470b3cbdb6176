"""Time of the training step, on generated images: `python -m benchmarks.train_step`.

Milliseconds a step, peak memory, operations, and their share of the machine's peak. All seven losses are on
and every label source is mutual: the dearest step of the recipe. `--profile` adds the ten dearest kernels.
`benchmarks.plain_step` times the step by part.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.report import arguments, operations, publish, share, synchronise, timed
from unia.config import load
from unia.losses.schedule import ActiveLosses
from unia.model.network import build
from unia.model.precision import has_bf16
from unia.recipe import Recipe
from unia.training.loop import make_step
from unia.training.optimiser import build_optimiser, set_learning_rate

REFERENCE = 9.6e12 / 4  # operations for an image in the reference's step at ViT-B and crop 448
CLASSES = 20
Run = Callable[[], dict[str, torch.Tensor]]


def generated_batch(batch: int, crop: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth random images, normalised, and one to three present classes each."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(batch, 3, crop // 16, crop // 16, generator=generator)
    images = torch.nn.functional.interpolate(coarse, (crop, crop), mode="bicubic")
    labels = torch.zeros(batch, classes)
    for row in labels:
        present = int(torch.randint(1, 4, (), generator=generator))
        row[torch.randperm(classes, generator=generator)[:present]] = 1
    return images, labels


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--dataset", default="voc")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    recipe = load(Path("params.yaml"), options.settings).recipe(options.dataset)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run, images = prepare(recipe, device)
    count = operations(run)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        for _ in range(4):  # the first steps of a kind run as they are, then it is recorded
            run()
    seconds = timed(run, device, options.repeats)
    found = {
        "backbone": recipe.model.backbone,
        "batch": len(images),
        "crop": recipe.train.crop,
        "precision": recipe.train.precision if has_bf16(device) else "float32",
        "device": device.type,
        "ms a step": round(1000 * seconds, 1),
        "tflop": round(count / 1e12, 3),
        "share of peak": share(count, seconds, device),
    }
    if (recipe.model.backbone.startswith("vit_base"), recipe.train.crop) == (True, 448):
        found["share, counting the reference's operations"] = share(REFERENCE * len(images), seconds, device)
    if device.type == "cuda":
        found["peak GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    losses = {name: round(float(value), 5) for name, value in run().items()}
    publish(
        "train_step",
        [found, *({"loss": name, "value": value} for name, value in losses.items())],
        options.save,
    )
    if options.profile:
        show_profile(run, device)


def prepare(recipe: Recipe, device: torch.device) -> tuple[Run, torch.Tensor]:
    """A function that makes one step, and the batch it makes it on."""
    torch.manual_seed(0)
    model = build(recipe.model, CLASSES).to(device).to(memory_format=torch.channels_last).train()
    optimiser = build_optimiser(model, recipe.train)
    set_learning_rate(optimiser, 0, recipe.train)
    step = make_step(model, recipe, optimiser, device)
    images, labels = generated_batch(recipe.train.batch, recipe.train.crop, CLASSES)
    losses = frozenset(type(recipe.losses).model_fields)
    active = ActiveLosses(losses, frozenset({"affinity", "distribution", "segmentation"}), late=True)
    if device.type == "cuda":
        images, labels = images.pin_memory(), labels.pin_memory()
    return lambda: step(images, labels, int(labels.sum(1).max()), active), images


def show_profile(run: Run, device: torch.device) -> None:
    """The ten operations that take most of a step's time."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities) as profiled:
        run()
        synchronise(device)
    key = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
    print(profiled.key_averages().table(sort_by=key, row_limit=10, max_name_column_width=60))


if __name__ == "__main__":
    main()
