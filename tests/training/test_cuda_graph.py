"""A recorded step gives what the plain one gives."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from unia.config import load
from unia.losses.schedule import ActiveLosses
from unia.model.network import build
from unia.training.cuda_graph import CUDAGraphStep
from unia.training.loop import make_step
from unia.training.optimiser import build_optimiser, set_learning_rate


@pytest.mark.skipif(not torch.cuda.is_available(), reason="records CUDA graphs: needs a GPU")
def test_recorded_steps_train_as_plain_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = losses_of_steps()
    monkeypatch.setattr("unia.training.cuda_graph.WARM_UP", 10**9)
    plain = losses_of_steps()
    assert recorded[:, -1].min() > 0
    torch.testing.assert_close(recorded, plain, rtol=5e-3, atol=1e-4)


def losses_of_steps() -> Tensor:
    """20 steps of the small model, its sampled term off: losses, one row a step."""
    settings = ["size=small", "small.train.lr=3.0e-4", "small.train.head_lr=6.0e-4"]
    recipe = load(Path("params.yaml"), settings).recipe("voc")
    device = torch.device("cuda")
    torch.manual_seed(0)
    model = build(recipe.model, 20).to(device).train()
    optimiser = build_optimiser(model, recipe.train)
    step = make_step(model, recipe, optimiser, device)
    assert isinstance(step, CUDAGraphStep)
    active = frozenset(type(recipe.losses).model_fields) - {"distribution"}
    now = ActiveLosses(names=active, mutual=frozenset({"affinity"}), late=True)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(20, 4, 3, 64, 64, generator=generator)
    labels = (torch.rand(20, 4, 20, generator=generator) < 0.1).float()
    rows = []
    for iteration in range(20):
        set_learning_rate(optimiser, 100 + iteration, recipe.train)
        losses = step(images[iteration], labels[iteration], 4, now)
        rows.append(torch.stack([losses[name].cpu() for name in sorted(losses)]))
    return torch.stack(rows)
