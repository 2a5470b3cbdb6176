"""Time of the training step, on generated images: `python -m benchmarks.train_step`.

Prints milliseconds a step, peak memory and, on a GPU, the share of its bf16 peak. All seven losses are on
and every label source is mutual: the dearest step of the recipe. `--profile` adds the ten dearest kernels.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from unia.config import load
from unia.model.network import build
from unia.recipe import Recipe
from unia.training.loop import make_step
from unia.training.objective import Plan
from unia.training.optimiser import build_optimiser, set_learning_rate

REFERENCE_TFLOP = 9.6  # of one reference step at ViT-B, crop 448, batch 4, counted operation by operation
Run = Callable[[], dict[str, torch.Tensor]]
PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0}  # dense bf16


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="voc")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    recipe = load(Path("params.yaml"), arguments.settings).recipe(arguments.dataset)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run, images = prepare(recipe, device)
    print(
        f"{recipe.model.backbone}, batch {len(images)}, crop {recipe.train.crop}, "
        f"{recipe.train.precision}, {device}"
    )
    for _ in range(5 if device.type == "cuda" else 1):
        losses = run()
    print("losses:", {name: round(float(value), 5) for name, value in losses.items()})
    print(f"{1000 * seconds(run, arguments.repeats, device):.1f} ms a step", end="")
    if device.type == "cuda":
        name = torch.cuda.get_device_name(0)
        peak = next((value for key, value in PEAK_TFLOPS.items() if key in name), None)
        if peak:
            share = REFERENCE_TFLOP * len(images) / 4 / seconds(run, arguments.repeats, device) / peak
            print(f", {100 * share:.0f}% of {name}'s bf16 peak (counting the reference's operations)", end="")
        print(f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB peak", end="")
    print()
    if arguments.profile:
        show_profile(run, device)


def prepare(recipe: Recipe, device: torch.device) -> tuple[Run, torch.Tensor]:
    """A function that makes one step, and the batch it makes it on."""
    torch.manual_seed(0)
    classes = 20
    model = build(recipe.model, classes).to(device).to(memory_format=torch.channels_last).train()
    optimiser = build_optimiser(model, recipe.train)
    set_learning_rate(optimiser, 0, recipe.train)
    step = make_step(model, recipe, optimiser, device)
    images, labels = generated_batch(recipe.train.batch, recipe.train.crop, classes)
    losses = frozenset(type(recipe.losses).model_fields)
    plan = Plan(active=losses, mutual=frozenset({"affinity", "distribution", "segmentation"}), late=True)
    if device.type == "cuda":
        images, labels = images.pin_memory(), labels.pin_memory()
    return lambda: step(images, labels, int(labels.sum(1).max()), plan), images


def seconds(run: Run, repeats: int, device: torch.device) -> float:
    """Mean wall time of a step."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def show_profile(run: Run, device: torch.device) -> None:
    """The ten operations that take most of a step's time."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities) as profiled:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
    key = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
    print(profiled.key_averages().table(sort_by=key, row_limit=10, max_name_column_width=60))


if __name__ == "__main__":
    main()
