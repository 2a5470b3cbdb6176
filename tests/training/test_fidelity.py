"""Each parameter of docs/fidelity.md that chooses another reading changes what it says, and only that."""

from pathlib import Path

import pytest
import torch

from unia.config import load
from unia.losses.schedule import ActiveLosses
from unia.model.network import build
from unia.recipe import Recipe
from unia.training.objective import Objective

ROOT = Path(__file__).parents[2]
TINY = [
    "size=small",
    "small.model.vit={img_size: 64, patch_size: 8, embed_dim: 32, depth: 3, num_heads: 2}",
    "small.model.uncertainty.hidden=32",
    "small.model.uncertainty.heads=2",
    "small.losses.affinity.mutual_after=null",
]


def recipe(*settings: str) -> Recipe:
    return load(ROOT / "params.yaml", [*TINY, *settings]).recipe("voc")


def losses(chosen: Recipe) -> dict[str, float]:
    """All losses of one random batch, late in training."""
    torch.manual_seed(0)
    model = build(chosen.model, 20).train()
    objective = Objective(model, chosen, torch.device("cpu"))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    images = torch.nn.functional.avg_pool2d(images, 9, 1, 4) * 9
    labels = torch.zeros(2, 20)
    labels[0, [3, 7]] = labels[1, 14] = 1
    active = ActiveLosses.at(10_000, chosen.losses, chosen.pseudo_label)
    torch.manual_seed(2)
    return {name: loss.item() for name, loss in objective(images, labels, 2, active).items()}


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("small.model.uncertainty.mean_mlp=separate", {"distribution"}),
        ("small.losses.affinity.mutual_after=8000", {"affinity"}),
        ("small.losses.segmentation.mutual_after=8000", {"segmentation", "energy"}),
        ("small.losses.distribution.samples=1", {"distribution"}),
        ("small.losses.energy.filter=exact", {"energy"}),
    ],
)
def test_the_other_reading_changes_its_losses_alone(setting: str, changed: set[str]) -> None:
    ours, other = losses(recipe()), losses(recipe(setting))
    assert {name for name in ours if ours[name] != pytest.approx(other[name], rel=1e-6)} == changed


def test_token_resize_reaches_the_affinity_loss() -> None:
    late = "small.losses.affinity.mutual_after=8000"
    nearest = losses(recipe(late))
    bilinear = losses(recipe(late, "small.pseudo_label.token_resize=bilinear"))
    assert nearest["affinity"] != bilinear["affinity"]
    assert nearest["segmentation"] == bilinear["segmentation"]
