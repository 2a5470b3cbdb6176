"""`unia checkpoint import` and `export` on full-size checkpoints of the reference's two forms."""

import json
from pathlib import Path

import pytest
import torch
from program import unia
from reference_weights import draw_all
from torch import Tensor

ROOT = Path(__file__).parents[2]


def reference(classes: int) -> dict[str, Tensor]:
    """The reference's state dict for a number of classes, by the rule of the golden numbers."""
    shapes = json.loads((ROOT / "tests/golden/reference_state_dict.json").read_text())
    for name, count in (("classifier", classes), ("aux_classifier", classes), ("decoder.conv8", classes + 1)):
        shapes[f"{name}.weight"][0] = count
    return draw_all(shapes)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "classes"), [("voc", 20), ("coco", 80)])
def test_a_checkpoint_survives_import_and_export(form: str, classes: int, tmp_path: Path) -> None:
    tensors = {f"module.{name}": tensor for name, tensor in reference(classes).items()}
    stored = {"step": 7, "lr": 0.1, "optimizer_state_dict": {}, "model_state_dict": tensors}
    torch.save(stored if form == "coco" else tensors, tmp_path / "in.pth")
    params = ("--params", str(ROOT / "params.yaml"))
    unia(tmp_path, "checkpoint", "import", "in.pth", "--out", "ours.safetensors", *params)
    unia(tmp_path, "checkpoint", "export", "ours.safetensors", "--form", form, "--out", "out.pth")
    back = torch.load(tmp_path / "out.pth", weights_only=True)
    back = back["model_state_dict"] if form == "coco" else back
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    print(f"{form} form, {classes} classes: {len(back)} tensors, all equal")
