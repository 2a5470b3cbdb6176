"""Checkpoints: ours (safetensors, configuration in the header) and the reference's, both ways.

Nothing is unpickled: `torch.load` runs with `weights_only=True`.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import Tensor

from unia.data.normalise import MEAN, STD
from unia.errors import UserError
from unia.files import atomic
from unia.layers import tuples
from unia.model.network import UniA, build
from unia.progress import say
from unia.recipe import MOST, Model
from unia.system import of_system

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

VIT = "patch_embed.proj.weight"  # where a file has a tensor of this name, it has a ViT of timm's
TOKENS = ("cls_token", "reg_token", "pos_embed", "patch_embed.", "norm_pre.", "blocks.", "norm.")
"""Names of the tensors of a ViT that its tokens depend on; what else it holds is never used."""

NESTED = 4  # mappings in one another, at most, in a file written by torch.save


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself: all that its network needs to segment an image."""

    model: Model
    classes: tuple[str, ...]  # foreground
    dataset: str
    iteration: int
    crop: int  # side in pixels of the squares that it learned from
    tile: int | None  # where these were tiles: a tile's side in pixels of the image


def save_checkpoint(model: UniA, header: Header, out: Path) -> None:
    """Write `model` as safetensors, its header as metadata. The same model gives the same bytes."""
    described = {
        "model": header.model.model_dump(mode="json"),
        "classes": list(header.classes),
        "dataset": header.dataset,
        "iteration": header.iteration,
        "crop": header.crop,
        "tile": header.tile,
        "normalisation": {"mean": MEAN, "std": STD},  # of RGB in 0..1; for readers other than unia
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic(out) as temporary:
        temporary.write_bytes(save(tensors, metadata={"unia": json.dumps(described)}))


def read_header(path: Path) -> Header:
    """The header of one of our checkpoints; UserError if it is none."""
    try:
        _check_opens(path)
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {})["unia"])
        model = Model.model_validate(tuples(described["model"]))
        crop, tile = _pixels(described["crop"]), described["tile"]
        return Header(
            model,
            tuple(described["classes"]),
            described["dataset"],
            described["iteration"],
            crop,
            None if tile is None else _pixels(tile),
        )
    except (OSError, SafetensorError, LookupError, ValueError, TypeError, RecursionError) as error:
        if of_system(error):
            raise
        reason, hint = "no such file", "train first"
        if path.exists():
            reason = "not a checkpoint of this version of unia"
            hint = "import one of the reference with `unia checkpoint import`; train another version's again"
        raise UserError(f"{path}: {reason} ({type(error).__name__}); {hint}") from None


def _pixels(value: object) -> int:
    """The side of a square; ValueError for what is none."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MOST:
        raise ValueError(f"{value!r} is no number of pixels")
    return value


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
    """Start the backbone from a file of a ViT (.safetensors, or written by torch.save).

    Its tensors may have timm's names, or those of DINO, MAE, CLIP and others that timm converts, and stand
    below any name (`model`, `state_dict`, `backbone.`). Position embedding and patches are resized as timm
    does. All that the tokens depend on must be there; what follows them, heads and decoders, may be absent
    or others. Raises UserError where the file does not fit, or holds several such networks.
    """
    vit = model.backbone.vit
    held = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    tensors = _below(held, VIT, path) or held
    side = tensors[VIT].shape[-1] if VIT in tensors and tensors[VIT].ndim == 4 else model.backbone.patch
    name = model.backbone.name
    try:
        found = checkpoint_filter_fn(tensors, vit, adapt_layer_scale=True)
        found = {key: tensor for key, tensor in found.items() if isinstance(tensor, Tensor)}
    except Exception as error:  # shapes and names that timm takes for others
        raise UserError(f"{path}: as weights of {name}: does not fit ({_reason(error)})") from None
    state = vit.state_dict()
    own = {key: tensor for key, tensor in state.items() if key.startswith(TOKENS)}
    if not own.keys() & found.keys():
        some = ", ".join(list(dict(_tensors(held)))[:3])
        raise UserError(f"{path}: holds no vision transformer under a name that timm knows, but {some}, ...")
    used = {key: tensor for key, tensor in found.items() if key.startswith(TOKENS)}
    _check_fit(own, used, f"{path}: as weights of {name}")
    used |= {key: found[key] for key in state if key in found and found[key].shape == state[key].shape}
    vit.load_state_dict(used, strict=False)
    if os.environ.get("RANK", "0") != "0":  # of processes that train together one tells
        return
    if side != model.backbone.patch:
        say(f"{path}: has patches of {side} pixels; they are resized to the {model.backbone.patch} of {name}")
    if unused := dict.fromkeys(key.split(".")[0] for key in found if key not in used):
        say(f"{path}: not used: {', '.join(unused)}")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        if of_system(error):
            raise
        raise UserError(f"{path}: no readable safetensors ({error})") from None


def _check_opens(path: Path) -> None:
    """Raise OSError where it does not open: torch and safetensors would say that it is not there."""
    path.open("rb").close()


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a reference checkpoint; UserError for anything but mappings of tensors.

    Both of the reference's forms: a bare state dict with `module.` prefixes (VOC), or one held under
    `model_state_dict` (COCO); any other name may stand above them too.
    """
    held = _read_torch(path)
    return _below(held, f"encoder.{VIT}", path) or dict(_tensors(held))


def _read_torch(path: Path) -> Mapping[str, Any]:
    """What `torch.save` wrote: a mapping that holds tensors, or mappings of them."""
    try:
        _check_opens(path)
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # torch's readers of damaged files raise of every kind
        if of_system(error):
            raise
        if refused := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(
                f"{path}: refused: beside tensors it holds {refused[1]}, and reading such objects can run "
                "any code; README, Weights of the backbone, says how to write its tensors into another file"
            ) from None
        raise UserError(f"{path}: not a plain state dict of tensors, refused ({_reason(error)})") from None
    if not isinstance(loaded, Mapping) or not dict(_tensors(loaded)):
        raise UserError(f"{path}: holds no state dict of tensors")
    return loaded


def _below(held: Mapping[str, Any], known: str, path: Path) -> dict[str, Tensor]:
    """The tensors that stand below the same name as the one called `known`; none without it.

    Raises UserError where there are several such names: nobody knows which is meant.
    """
    tensors = dict(_tensors(held))
    places = [name.removesuffix(known) for name in tensors if f".{name}".endswith(f".{known}")]
    if len(places) > 1:
        several = ", ".join(place.rstrip(".") or "one on top" for place in places)
        raise UserError(
            f"{path}: holds several networks: {several}; README, Weights of the backbone, says how to write "
            "the one that is meant into another file"
        )
    return {
        name.removeprefix(place): tensor
        for place in places
        for name, tensor in tensors.items()
        if name.startswith(place)
    }


def _tensors(held: Mapping[str, Any], above: str = "", depth: int = NESTED) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of a mapping and of those in it, whose names stand before: `model.cls_token`."""
    for name, value in held.items():
        if isinstance(value, Tensor):
            yield f"{above}{name}", value
        elif isinstance(value, Mapping) and depth:
            yield from _tensors(value, f"{above}{name}.", depth - 1)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


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
