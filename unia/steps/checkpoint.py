"""`unia checkpoint import|export`: the reference's checkpoints to ours and back, tensor by tensor."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from unia.data import coco, voc
from unia.errors import UserError
from unia.files import atomic
from unia.model.checkpoint import (
    Header,
    from_reference,
    load_tensors,
    read_header,
    read_state_dict,
    save_checkpoint,
    to_reference,
)
from unia.model.network import build

COCO_CLASSES = tuple(coco.CATEGORIES.values())


def import_checkpoint(path: Path, header: Header, out: Path) -> None:
    """Write the reference checkpoint `path` (VOC or COCO form) as one of ours, of which `header` tells.

    Raises UserError for what is no plain state dict, or does not fit the header.
    """
    model = build(header.model, len(header.classes))
    load_tensors(model, from_reference(read_state_dict(path)), str(path))
    save_checkpoint(model, header, out)


def official(path: Path) -> tuple[str, tuple[str, ...]]:
    """(dataset, class names) of a reference checkpoint with as many classes as VOC or COCO has.

    Raises UserError for any other number.
    """
    weight = read_state_dict(path).get("classifier.weight")
    count = 0 if weight is None else len(weight)
    known = {len(names): (name, names) for name, names in (("voc", voc.CLASSES), ("coco", COCO_CLASSES))}
    if count not in known:
        raise UserError(f"{path}: has {count} classes, neither VOC's nor COCO's; give --dataset and --data")
    return known[count]


def export_checkpoint(path: Path, form: str, out: Path) -> None:
    """Write our checkpoint in the reference's form.

    voc: a bare state dict with `module.` prefixes; coco: the same under `model_state_dict`, beside `step`.
    """
    header = read_header(path)
    tensors: Any = {f"module.{name}": tensor for name, tensor in to_reference(load_file(path)).items()}
    if form == "coco":
        tensors = {"model_state_dict": tensors, "step": header.iteration}
    with atomic(out) as temporary:
        torch.save(tensors, temporary)
