"""The optimiser's groups of parameters, and the rates that reach them."""

from pathlib import Path

import pytest
import torch

from unia.config import load
from unia.model.network import UniA, build
from unia.recipe import Recipe
from unia.training.learning_rate import learning_rate
from unia.training.optimiser import build_optimiser, parameter_groups, set_learning_rate

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def voc() -> Recipe:
    return load(ROOT / "params.yaml").recipe("voc")


@pytest.fixture(scope="module")
def vit_b(voc: Recipe) -> UniA:
    with torch.device("meta"):
        return build(voc.model, 20)


def test_groups_of_vit_b(vit_b: UniA, voc: Recipe) -> None:
    groups = {group["name"]: group for group in parameter_groups(vit_b, voc.train)}
    assert {name: len(group["params"]) for name, group in groups.items()} == {
        "norms": 50,
        "backbone": 102,
        "heads": 45,
        "decoder": 3,
    }
    assert {name: group["base_lr"] for name, group in groups.items()} == {
        "norms": 6e-5,
        "backbone": 6e-5,
        "heads": 6e-4,
        "decoder": 6e-4,
    }


def test_only_the_affinity_bias_is_in_no_group(vit_b: UniA, voc: Recipe) -> None:
    grouped = [id(p) for group in parameter_groups(vit_b, voc.train) for p in group["params"]]
    assert len(set(grouped)) == len(grouped)
    left_out = [name for name, parameter in vit_b.named_parameters() if id(parameter) not in grouped]
    assert left_out == ["affinity.project.bias"]
    with_bias = voc.train.model_copy(update={"train_affinity_bias": True})
    heads = {group["name"]: group["params"] for group in parameter_groups(vit_b, with_bias)}["heads"]
    assert len(heads) == 46
    assert any(parameter is vit_b.affinity.project.bias for parameter in heads)


def test_settings_of_adamw(voc: Recipe) -> None:
    model = build(load(ROOT / "params.yaml").recipe("shapes").model, 3)
    for group in build_optimiser(model, voc.train).param_groups:
        assert group["betas"] == (0.9, 0.999)
        assert group["eps"] == 1e-8
        assert group["weight_decay"] == 0.01


def test_rates_reach_the_groups(voc: Recipe) -> None:
    optimiser = build_optimiser(build(load(ROOT / "params.yaml").recipe("shapes").model, 3), voc.train)
    for step in (0, 700, 1500, 19999):
        rate = set_learning_rate(optimiser, step, voc.train)
        assert rate == learning_rate(6e-5, step, 1500, 1e-6, 20000, 0.9)
        assert [group["lr"] for group in optimiser.param_groups] == pytest.approx(
            [rate, rate, 10 * rate, 10 * rate]
        )


def test_frozen_parameters_stay(voc: Recipe) -> None:
    """Position embedding, unused head and weight-norm magnitudes: they carry no gradient."""
    model = build(load(ROOT / "params.yaml").recipe("shapes").model, 3)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert "backbone.vit.pos_embed" in frozen
    assert {name for name in dict(model.named_parameters()) if name.endswith("weight_g")} <= frozen
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    optimiser = build_optimiser(model, voc.train)
    set_learning_rate(optimiser, 1500, voc.train)
    output = model(torch.randn(1, 3, 96, 96))
    torch.stack([x.square().mean() for x in output if x is not None]).sum().backward()
    optimiser.step()
    moved = {name for name, tensor in model.named_parameters() if not torch.equal(tensor, before[name])}
    assert not moved & frozen
    assert "affinity.project.bias" not in moved
    assert "affinity.project.weight" in moved
