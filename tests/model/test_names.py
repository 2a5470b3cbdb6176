"""Which backbones are taken: by name, as read from timm's files, and by what they compute."""

from pathlib import Path

import pytest
import timm
import torch
from program import unia

from unia.backbones import FILES, architectures, known
from unia.errors import UserError
from unia.model import backbone
from unia.model.backbone import Backbone

PARAMS = Path(__file__).parents[2] / "params.yaml"
OTHERS = {
    "vit_small_r26_s32_224": "convolutions before the patches",
    "deit_tiny_distilled_patch16_224": "a token that we know nothing of",
    "vit_base_patch16_rpn_224": "another order within a block",
    "vit_base_patch16_xp_224": "attention and MLP side by side",
    "vit_small_patch16_18x2_224": "two attentions side by side",
    "vit_dwee_patch16_reg1_gap_256": "attention of another kind, in layers of the same names",
}
PLAIN = (
    "vit_base_patch16_224",
    "vit_small_patch14_reg4_dinov2",
    "vit_giant_patch14_dinov2",
    "vit_base_patch16_clip_quickgelu_224",
    "vit_base_patch16_siglip_224",
    "vit_medium_patch16_gap_256",
    "deit3_small_patch16_224",
    "flexivit_small",
)
SMALL = {"embed_dim": 24, "depth": 3, "num_heads": 2}


def test_they_are_timm_s() -> None:
    assert set(architectures()) == {name for file in FILES for name in timm.list_models(module=file)}
    plain = {name for name, plain in architectures().items() if plain}
    for file in FILES:
        for name in timm.list_models(module=file, pretrained=True):
            if name.split(".")[0] in plain:
                assert known(name) == name


def accepted(name: str) -> bool:
    """Whether the network takes a small ViT of this architecture."""
    try:
        Backbone(name, SMALL)
    except UserError as error:
        if "is no plain vision transformer of timm" in str(error):
            return False
        raise
    return True


@pytest.mark.parametrize("name", OTHERS)
def test_what_computes_other_tokens_is_refused_by_name(name: str, tmp_path: Path) -> None:
    """When params.yaml is read; and by the network itself, which may get it under a hub's name."""
    setting = f"recipe.model.backbone={name}"
    command = ("weights", "voc", "--out", "x.safetensors", "--params", str(PARAMS), "--set", setting)
    said = unia(tmp_path, *command, code=1)
    assert "model.backbone: is no plain vision transformer" in said
    assert not accepted(name)


@pytest.mark.parametrize("name", PLAIN)
def test_what_computes_timm_s_tokens_is_taken(name: str) -> None:
    assert known(name) == name
    assert accepted(name)


@pytest.mark.slow
def test_the_names_tell_what_the_tokens_tell() -> None:
    names = set(architectures()) - set(timm.list_models(module="vision_transformer_hybrid"))
    assert {name: accepted(name) for name in names} == {name: architectures()[name] for name in names}


def test_the_comparison_draws_none_of_the_model_s_numbers() -> None:
    drawn = []
    for _ in range(2):  # the second time its answer is known
        torch.manual_seed(5)
        Backbone("vit_tiny_patch16_224", {**SMALL, "embed_dim": 36, "img_size": 32})
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
    backbone._computed_as_timm_does.cache_clear()
