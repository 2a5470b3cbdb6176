"""`unia train`: from a prepared dataset to a checkpoint and its curve of losses."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from unia.data.samples import Split, load_split
from unia.data.stream import Positions, loader
from unia.errors import UserError
from unia.files import atomic
from unia.model.checkpoint import Header, load_backbone, save_checkpoint
from unia.model.network import UniA, build
from unia.progress import say
from unia.recipe import Recipe
from unia.training.loop import fit

CURVE = (
    "iteration",
    "lr",
    "loss",
    "classification",
    "classification_aux",
    "ptc",
    "affinity",
    "distribution",
    "segmentation",
    "energy",
)


def train(
    dataset: str, recipe: Recipe, data: Path, out: Path, log: Callable[[int, Mapping[str, float]], None]
) -> None:
    """Train on the split `train` of the prepared folder `data`.

    Writes the folder `out`: `checkpoint.safetensors` and `losses.csv` (a row per logged iteration).
    `log` also receives each row. Raises UserError for data without labels or weights that do not fit.
    """
    split = load_split(data, "train")
    if any(sample.labels is None for sample in split.samples):
        raise UserError(f"{data}: the split train has no image-level labels; nothing to learn from")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(recipe.train.seed)
    model = start(recipe, split)
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    say(
        f"train {dataset}: {len(split.samples)} images, {len(split.classes)} classes, "
        f"{recipe.model.backbone}, {parameters:.1f} M parameters, on {device.type}"
    )
    config = recipe.train
    if config.crop % model.backbone.patch:
        raise UserError(
            f"train.crop: {config.crop} is no multiple of the backbone's patches of {model.backbone.patch}"
        )
    positions = Positions(config.batch, 0, config.iterations)
    batches = loader(split, config, positions, pin=device.type == "cuda")
    rows: list[Mapping[str, float]] = []

    def record(iteration: int, values: Mapping[str, float]) -> None:
        rows.append({"iteration": iteration, **values})
        log(iteration, values)

    fit(model, recipe, batches, device, record)
    with atomic(out) as folder:
        folder.mkdir()
        header = Header(recipe.model, split.classes, dataset, config.iterations)
        save_checkpoint(model, header, folder / "checkpoint.safetensors")
        with (folder / "losses.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, CURVE, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def start(recipe: Recipe, split: Split) -> UniA:
    """The network before its first step: pretrained weights as the recipe says, the rest drawn."""
    model = build(recipe.model, len(split.classes), pretrained=True)
    weights = recipe.model.weights
    if weights not in (None, "timm"):
        load_backbone(model, Path(weights))
    return model
