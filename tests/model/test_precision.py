"""u is float32 whatever the precision of the other passes: bf16 would hide its differences."""

from pathlib import Path

import numpy as np
import pytest
import torch
from smallest import NETWORK

from unia.config import load
from unia.model import precision
from unia.model.network import UniA, build
from unia.recipe import Infer, Recipe
from unia.steps.predict import segment
from unia.steps.predictions import predict

PARAMS = Path(__file__).parents[2] / "params.yaml"
CPU = torch.device("cpu")


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setattr(precision, "has_bf16", lambda device: True)  # others imitate it
    return load(PARAMS, NETWORK).recipe("shapes")


@pytest.fixture
def model(recipe: Recipe) -> UniA:
    torch.manual_seed(0)
    return build(recipe.model, 3).eval()


def at(recipe: Recipe, of_passes: str) -> Infer:
    return recipe.infer.model_copy(update={"precision": of_passes})


def test_u_of_infer_is_float32s(model: UniA, recipe: Recipe) -> None:
    image = torch.randn(3, 32, 40)
    coarse, exact = (
        next(iter(predict(model, [("image", image, None)], None, recipe.pseudo_label, at(recipe, name), CPU)))
        for name in ("bf16", "float32")
    )
    assert not np.array_equal(coarse.logits[0], exact.logits[0])
    assert coarse.uncertainty is not None
    np.testing.assert_array_equal(coarse.uncertainty, exact.uncertainty)


def test_u_of_predict_is_float32s(model: UniA, recipe: Recipe) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    coarse, exact = (segment(model, image, at(recipe, name), None) for name in ("bf16", "float32"))
    assert coarse.uncertainty is not None
    np.testing.assert_array_equal(coarse.uncertainty, exact.uncertainty)
