"""Weights as people have them: which files a backbone starts from, and what is said of the others."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from program import unia
from project import SHARED, TINY, Project
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from unia.config import load
from unia.errors import UserError
from unia.model.checkpoint import Header, load_backbone, save_checkpoint
from unia.model.network import UniA, build
from unia.recipe import Model

DINOV2 = SHARED / "weights" / "dinov2_vits14_fp16.safetensors"
CONFIG = load(Path(__file__).parents[2] / "params.yaml").recipe("shapes").model
SMALL = CONFIG.model_copy(
    update={
        "uncertainty": CONFIG.uncertainty.model_copy(update={"hidden": 32, "mlp": (16, 8)}),
        "decoder": CONFIG.decoder.model_copy(update={"channels": 16}),
    }
)
Tensors = dict[str, Tensor]


def model(seed: int, **changes: object) -> UniA:
    torch.manual_seed(seed)
    return build(Model.model_validate(SMALL.model_dump() | changes), 3)


@pytest.fixture
def source() -> UniA:
    return model(1)


def headless(vit: Tensors) -> Tensors:
    return {name: tensor for name, tensor in vit.items() if not name.startswith("head.")}


def mae(vit: Tensors) -> Tensors:
    extra = {"mask_token": torch.zeros(1, 1, 8), "decoder_blocks.0.norm1.weight": torch.ones(8)}
    return headless(vit) | extra


def below(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


FORMS: dict[str, Callable[[Tensors], Any]] = {
    "without a head": headless,
    "with another head": lambda vit: vit | {"head.weight": torch.zeros(7, 96), "head.bias": torch.zeros(7)},
    "model": lambda vit: {"model": vit, "epoch": 3},
    "state_dict": lambda vit: {"state_dict": below("module.", vit), "optimizer": {"state": {0: {"step": 1}}}},
    "MAE": lambda vit: {"model": mae(vit)},
    "DINO": lambda vit: {"teacher": below("backbone.", headless(vit)) | {"head.0.weight": torch.ones(2)}},
    "half precision": lambda vit: below(
        "module.backbone.", {name: value.half() for name, value in vit.items()}
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_backbone_starts_from_the_files_that_people_have(form: str, source: UniA, tmp_path: Path) -> None:
    torch.save(FORMS[form](source.backbone.vit.state_dict()), tmp_path / "vit.pth")
    started = model(0)
    load_backbone(started, tmp_path / "vit.pth")
    assert_started(started, source, 1e-2 if form == "half precision" else 0)


def test_a_backbone_starts_from_a_checkpoint_of_ours(source: UniA, tmp_path: Path) -> None:
    save_checkpoint(
        source, Header(SMALL, ("a", "b", "c"), "shapes", 5, 32, None), tmp_path / "own.safetensors"
    )
    started = model(0)
    load_backbone(started, tmp_path / "own.safetensors")
    assert_started(started, source)


def assert_started(started: UniA, source: UniA, near: float = 0) -> None:
    """The tokens are those of `source`; all that is no backbone is as it was drawn."""
    images = torch.rand(2, 3, 60, 60)
    with torch.no_grad():
        found, expected = (network.eval().backbone(images, attention=True) for network in (started, source))
    for name in ("final", "auxiliary", "attention"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=near, rtol=near)
    before = model(0).state_dict()
    for name, tensor in started.state_dict().items():
        assert name.startswith("backbone.") or torch.equal(tensor, before[name]), name


def test_positions_of_another_size_are_resized_as_timm_does(tmp_path: Path) -> None:
    other = model(1, vit={**SMALL.vit.model_dump(), "img_size": 40}).backbone.vit
    save_file(headless(other.state_dict()), tmp_path / "vit.safetensors")
    started = model(0)
    load_backbone(started, tmp_path / "vit.safetensors")
    expected = resample_abs_pos_embed(other.pos_embed, [12, 12])
    assert torch.equal(started.backbone.vit.pos_embed, expected)


def test_patches_of_another_side_and_parts_without_use_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = model(1, vit={**SMALL.vit.model_dump(), "patch_size": 10}).backbone.vit
    torch.save({"model": mae(other.state_dict())}, tmp_path / "vit.pth")
    load_backbone(model(0), tmp_path / "vit.pth")
    patches, unused = capsys.readouterr().err.splitlines()
    assert patches.endswith("has patches of 10 pixels; they are resized to the 5 of vit_tiny_patch16_224")
    assert unused.endswith("vit.pth: not used: decoder_blocks")


REFUSED: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "a part is missing": (
        lambda vit: {name: value for name, value in vit.items() if "blocks.2.attn.qkv" not in name},
        "as weights of vit_tiny_patch16_224: does not fit .*blocks.2.attn.qkv.weight is missing",
    ),
    "layer scale": (
        lambda vit: vit | {"blocks.0.ls1.gamma": torch.ones(96)},
        "does not fit .*blocks.0.ls1.gamma is unknown",
    ),
    "another width": (lambda vit: vit | {"norm.bias": torch.ones(7)}, r"norm.bias is \(7,\), not \(96,\)"),
    "a distillation token": (
        lambda vit: vit | {"pos_embed": torch.zeros(1, 146, 96), "dist_token": torch.zeros(1, 1, 96)},
        "does not fit",
    ),
    "student and teacher": (
        lambda vit: {"student": below("module.backbone.", vit), "teacher": below("backbone.", vit)},
        "holds several networks: student.module.backbone, teacher.backbone; README, Weights of",
    ),
    "names of another library": (
        lambda vit: {"embeddings.cls_token": vit["cls_token"], "layernorm.weight": vit["norm.weight"]},
        "holds no vision transformer under a name that timm knows, but embeddings.cls_token",
    ),
    "no tensors": (lambda vit: {"model": {"epoch": 3}}, "holds no state dict of tensors"),
    "a number of numpy": (
        lambda vit: {"model": vit, "loss": np.float64(0.5)},
        r"refused: beside tensors it holds numpy[\w.]+scalar, .*README, Weights of the backbone",
    ),
    "arguments": (
        lambda vit: {"model": vit, "args": argparse.Namespace(lr=1)},
        "refused: beside tensors it holds argparse.Namespace, ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_that_does_not_fit_is_refused_in_one_line(what: str, source: UniA, tmp_path: Path) -> None:
    make, message = REFUSED[what]
    torch.save(make(source.backbone.vit.state_dict()), tmp_path / "vit.pth")
    started = model(0)
    with pytest.raises(UserError, match=message) as caught:
        load_backbone(started, tmp_path / "vit.pth")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'vit.pth'}: ")
    assert said.isprintable()
    assert all(torch.equal(a, b) for a, b in zip(started.parameters(), model(0).parameters(), strict=True))


def test_messages_of_libraries_come_without_colours() -> None:
    assert str(UserError("a: \x1b[31mred\x1b[0m\nwords")) == "a: red words"


@pytest.mark.slow
def test_training_starts_from_such_a_file_or_says_why_not(tmp_path: Path) -> None:
    """By the commands that a user types; DINO's form, and a file of objects."""
    project = Project(tmp_path, (*TINY, "small.model.weights=vit.pth"))
    recipe = load(tmp_path / "params.yaml").recipe("shapes")
    vit = build(recipe.model, 6).backbone.vit.state_dict()
    project.unia("download", "shapes", "--out", "data/raw/shapes.json")
    project.unia("prepare", "shapes", "--raw", "data/raw/shapes.json", "--out", "data/shapes")
    command = ("train", "shapes", "--data", "data/shapes", "--out", "results/shapes/train")
    torch.save({"model": vit, "args": argparse.Namespace()}, tmp_path / "vit.pth")
    said = unia(tmp_path, *command, code=1)
    assert said.splitlines()[-1].startswith(
        "unia: vit.pth: refused: beside tensors it holds argparse.Namespace"
    )
    assert "\x1b" not in said
    torch.save(FORMS["DINO"](vit), tmp_path / "vit.pth")
    unia(tmp_path, *command)
    assert (tmp_path / "results/shapes/train/checkpoint.safetensors").exists()


@pytest.mark.skipif(not DINOV2.exists(), reason="needs DINOv2's ViT-S/14, which is not kept here")
def test_dinov2_s_own_weights_give_timm_s_tokens() -> None:
    name = "vit_small_patch14_dinov2.lvd142m"
    started = model(0, backbone=name, vit={})
    load_backbone(started, DINOV2)
    theirs = timm.create_model(name, checkpoint_path=str(DINOV2)).eval()
    images = torch.rand(1, 3, 518, 518)
    with torch.no_grad():
        expected = theirs.forward_features(images)[:, 1:]
        found = started.eval().backbone(images, attention=True)
    assert found.final.std() > 0.5
    torch.testing.assert_close(found.final, expected, atol=1e-4, rtol=1e-4)
