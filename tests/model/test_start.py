"""How each tensor starts, by the reference's rules: `pytest -s tests/model/test_start.py` prints them."""

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from scipy.stats import kurtosis
from torch import Tensor

from unia.config import load
from unia.model.network import UniA, build

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


class Start(NamedTuple):
    """A distribution: its standard deviation and kurtosis (3: normal, 1.8: uniform; nan: constant)."""

    rule: str
    std: float
    kurtosis: float


def uniform(bound: float) -> Start:
    return Start(f"uniform within {bound:.4g}", bound / math.sqrt(3), 1.8)


TRUNCATED = Start("trunc-normal(0.02)", 0.02, 3.0)
ZERO = Start("0", 0.0, math.nan)
ONE = Start("1", 0.0, math.nan)


def rule(name: str, tensor: Tensor) -> Start:
    """What the reference starts our tensor `name` from: torch's own rules where it has none of its own."""
    fan_in = math.prod(tensor.shape[1:])
    if name.startswith("backbone."):
        return of_the_vit(name, fan_in)
    if name.endswith("weight_g"):
        return ONE
    if ".layers." in name:  # the linear layers of the projection MLPs, where the reference says so
        return TRUNCATED if name.endswith("weight") else ZERO
    if name.endswith("in_proj_weight"):  # torch starts attention by Xavier, over the three projections
        return uniform(math.sqrt(6 / (tensor.shape[0] + tensor.shape[1])))
    if name.endswith(("in_proj_bias", "out_proj.bias")):
        return ZERO
    if name.endswith("bias"):
        return uniform(1 / math.sqrt(BIAS_OF[name]))
    return uniform(1 / math.sqrt(fan_in))


BIAS_OF = {  # a bias's bound comes from the inputs of its layer
    "affinity.project.bias": 24,
    "uncertainty.mean.channel.bias": 1,
    "uncertainty.log_variance.channel.bias": 1,
    "uncertainty.unused.bias": 1024,
}


def of_the_vit(name: str, fan_in: int) -> Start:
    if "norm" in name:
        return ONE if name.endswith("weight") else ZERO
    if "patch_embed" in name:  # a convolution: torch's own
        return uniform(1 / math.sqrt(768))
    if name.endswith("cls_token"):  # timm's; no published number starts a ViT from scratch
        return Start("normal(1e-6)", 1e-6, 3.0)
    if name.endswith("bias"):
        return ZERO
    return TRUNCATED


@pytest.fixture(scope="module")
def model() -> UniA:
    """ViT-B from scratch."""
    torch.manual_seed(0)
    return build(load(ROOT / "params.yaml").recipe("voc").model, 20)


def test_every_tensor_starts_as_in_the_reference(model: UniA) -> None:
    print("\ntensor | rule | standard deviation: by the rule, found | kurtosis: by the rule, found")
    wrong = []
    for name, parameter in model.named_parameters():
        values, expected = parameter.detach().double().flatten(), rule(name, parameter)
        std = values.std(correction=0).item()
        tail = float(kurtosis(values, fisher=False)) if std > 0 else math.nan
        if not name.startswith("backbone."):
            both = f"{expected.std:.4g}, {std:.4g} | {expected.kurtosis:.1f}, {tail:.2f}"
            print(f"{name} | {expected.rule} | {both}")
        if math.isnan(expected.kurtosis):
            fits = bool((values == float(expected.rule)).all())
        elif len(values) == 1:  # the affinity's bias
            fits = bool(values.abs() <= expected.std * math.sqrt(3))
        else:  # five standard errors and more of both estimates, from so many values
            few = 5 / math.sqrt(len(values))
            fits = abs(std / expected.std - 1) < few and abs(tail - expected.kurtosis) < 5 * few
        if not fits:
            wrong.append(name)
    assert wrong == []
