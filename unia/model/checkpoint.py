"""Checkpoints: ours (safetensors, configuration in the header) and the reference's, both ways.

Nothing is unpickled: `torch.load` runs with `weights_only=True`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from unia.errors import UserError
from unia.files import atomic
from unia.model.network import UniA, build
from unia.recipe import Model

NAMES = (  # ours, the reference's: prefixes, first match wins
    ("backbone.vit.", "encoder."),
    ("decoder.conv1.", "decoder.conv6."),
    ("decoder.conv2.", "decoder.conv7."),
    ("decoder.conv3.", "decoder.conv8."),
    ("classifier.", "classifier."),
    ("classifier_aux.", "aux_classifier."),
    ("affinity.project.", "attn_proj."),
    ("uncertainty.embed.layers.", "uncertainty_infer.input_proj.mlp."),
    ("uncertainty.embed.last.", "uncertainty_infer.input_proj.last_layer."),
    ("uncertainty.unused.", "uncertainty_infer.conv."),
    ("uncertainty.mean.channel.", "uncertainty_infer.generate_parameters.mean_conv."),
    ("uncertainty.mean.spatial.", "uncertainty_infer.generate_parameters.mean_cross_attn."),
    ("uncertainty.mean.mlp.layers.", "uncertainty_infer.generate_parameters.mean_proj.mlp."),
    ("uncertainty.mean.mlp.last.", "uncertainty_infer.generate_parameters.mean_proj.last_layer."),
    ("uncertainty.log_variance.channel.", "uncertainty_infer.generate_parameters.std_conv."),
    ("uncertainty.log_variance.spatial.", "uncertainty_infer.generate_parameters.std_cross_attn."),
    ("uncertainty.log_variance.mlp.layers.", "uncertainty_infer.generate_parameters.std_proj.mlp."),
    ("uncertainty.log_variance.mlp.last.", "uncertainty_infer.generate_parameters.std_proj.last_layer."),
    ("uncertainty.attention.", "uncertainty_infer.cross_attn."),
)


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself."""

    model: Model
    classes: tuple[str, ...]  # foreground
    dataset: str
    iteration: int


def save_checkpoint(model: UniA, header: Header, out: Path) -> None:
    """Write `model` as safetensors, its header as metadata. The same model gives the same bytes."""
    described = {
        "model": header.model.model_dump(mode="json"),
        "classes": list(header.classes),
        "dataset": header.dataset,
        "iteration": header.iteration,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic(out) as temporary:
        temporary.write_bytes(save(tensors, metadata={"unia": json.dumps(described)}))


def read_header(path: Path) -> Header:
    """The header of one of our checkpoints; UserError if it is none."""
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {})["unia"])
        model = Model.model_validate(_tuples(described["model"]))
        return Header(model, tuple(described["classes"]), described["dataset"], described["iteration"])
    except (OSError, SafetensorError, LookupError, ValueError, TypeError, RecursionError) as error:
        hint = (
            "import a reference checkpoint with `unia checkpoint import`" if path.exists() else "train first"
        )
        reason = "not a checkpoint of unia" if path.exists() else "no such file"
        raise UserError(f"{path}: {reason} ({type(error).__name__}); {hint}") from None


def load(path: str | Path) -> UniA:
    """The network of one of our checkpoints, in eval mode, on the CPU, in float32."""
    path = Path(path)
    header = read_header(path)
    tensors = _read_safetensors(path)
    with torch.device("meta"):  # a header may ask for any amount of memory: first see what it is for
        _check_fit(build(header.model, len(header.classes)).state_dict(), tensors, str(path))
    model = build(header.model, len(header.classes))
    load_tensors(model, tensors, str(path))
    return model.eval()


def load_tensors(model: UniA, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put `tensors` into `model`; UserError names every missing, extra or misshapen one."""
    _check_fit(model.state_dict(), tensors, where)
    model.load_state_dict(dict(tensors))


def _check_fit(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: str) -> None:
    problems = [f"{name} is missing" for name in own if name not in tensors]
    problems += [f"{name} is unknown" for name in tensors if name not in own]
    problems += [
        f"{name} is {tuple(tensor.shape)}, not {tuple(own[name].shape)}"
        for name, tensor in tensors.items()
        if name in own and tensor.shape != own[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise UserError(f"{where}: does not fit the model: {'; '.join(problems[:10])}{more}")


def load_backbone(model: UniA, path: Path) -> None:
    """Start the backbone from a file of timm's tensors (.safetensors, or a state dict of torch)."""
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else read_state_dict(path)
    prefix = "backbone.vit."
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(prefix)}
    load_tensors(model, own | {prefix + name: tensor for name, tensor in tensors.items()}, str(path))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{path}: no readable safetensors ({error})") from None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a file written by `torch.save`; UserError for anything else.

    Both of the reference's forms: a bare state dict with `module.` prefixes (VOC), or one held under
    `model_state_dict` (COCO).
    """
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # torch's readers of damaged files raise of every kind
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: not a plain state dict of tensors, refused ({reason})") from None
    if isinstance(loaded, Mapping) and "model_state_dict" in loaded:
        loaded = loaded["model_state_dict"]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(f"{path}: holds no state dict of tensors")
    return {str(name).removeprefix("module."): tensor for name, tensor in loaded.items()}


def from_reference(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A reference state dict under our names; unknown names are kept, for `load_tensors` to refuse."""
    return {_renamed(name, 1, 0): tensor for name, tensor in tensors.items()}


def to_reference(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict under the reference's names."""
    return {_renamed(name, 0, 1): tensor for name, tensor in tensors.items()}


def _renamed(name: str, old: int, new: int) -> str:
    for pair in NAMES:
        if name.startswith(pair[old]):
            return pair[new] + name.removeprefix(pair[old])
    return name


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _tuples(below) for key, below in value.items()}
    return tuple(value) if isinstance(value, list) else value
