"""What is predicted of an image: label maps of every kind that `unia infer` writes, logits, uncertainty."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from unia.model.cam import multi_scale_cams
from unia.model.network import UniA
from unia.model.precision import passes
from unia.model.segment import logits_at, resized, scale_maps
from unia.model.uncertainty import uncertainty
from unia.model.windows import Network, as_trained, base_size, exact_log_variance
from unia.recipe import Infer, PseudoLabel
from unia.refine.affinity import affinity_label
from unia.refine.pseudo_label import cam_label_background, cam_levels, mutual
from unia.resize import resize
from unia.scoring.scores import Label

Item = tuple[str, Tensor, Tensor | None]
"""Name, normalised image 3 H W, image-level labels C or None."""


@dataclass(frozen=True)
class Prediction:
    """What is stored of one image."""

    name: str
    labels: Mapping[str, Label]  # H W: label maps by kind, and the levels of the CAM
    logits: tuple[NDArray[np.float16], ...]  # C+1 h w, of the segmentation at each scale
    uncertainty: NDArray[np.float32] | None  # h w; None without uncertainty inference


def made_with(pseudo_label: PseudoLabel, config: Infer) -> dict[str, dict[str, Any]]:
    """What each kind of prediction is made with, as tables say it.

    Scales of the image's passes, whether mirror images count (flips), the threshold of the CAM, and whose
    image-level labels limit the classes.
    """
    cams = {"scales": list(pseudo_label.cam_scales), "flips": True, "image_labels": "true"}
    segmentation = {"scales": list(config.scales), "flips": True, "threshold": None}
    return {
        "cam": cams | {"threshold": pseudo_label.background},
        "cam_aux": cams | {"threshold": pseudo_label.background},
        "affinity": cams | {"threshold": pseudo_label.affinity_background},
        "mutual": cams | {"threshold": pseudo_label.background},
        "seg": {"scales": [1], "flips": False, "threshold": None, "image_labels": "none"},
        "seg_ms": segmentation | {"image_labels": "none"},
        "seg_ms_filtered": segmentation | {"image_labels": "predicted"},
    }


def predict(
    model: UniA,
    batch: list[Item],
    tile: int | None,
    pseudo_label: PseudoLabel,
    config: Infer,
    device: torch.device,
) -> Iterator[Prediction]:
    """All kinds of prediction for a batch of images of any sizes; `tile`: see `base_size`."""

    def seen_at(item: Item) -> tuple[int, int]:
        return base_size(item[1], config.size, tile, model.backbone.patch)

    for base, alike in groupby(batch, seen_at):
        network = as_trained(model, base, config.size, tile)
        yield from _predict(network, list(alike), base, pseudo_label, config, device)


@torch.inference_mode()
def _predict(
    model: Network,
    batch: list[Item],
    base: tuple[int, int],
    pseudo_label: PseudoLabel,
    config: Infer,
    device: torch.device,
) -> list[Prediction]:
    """The predictions for images that the network sees at one size, `base`: (height, width)."""
    images = [image.to(device) for _, image, _ in batch]
    found: list[dict[str, Tensor]] = [{} for _ in batch]
    with passes(device, config.precision):
        seen = resized(images, base)
        output = model(seen)
        known = (output.features, output.features_aux)
        cams, cams_aux = multi_scale_cams(model, seen, pseudo_label.cam_scales, known)
        maps = scale_maps(model, images, base, config.scales)
    log_variance = exact_log_variance(model, seen, output)
    grid = (output.features.shape[-2], output.features.shape[-1])
    background, radius = pseudo_label.background, pseudo_label.radius
    beside = pseudo_label.affinity_background
    predictions = []
    for i, (name, image, labels) in enumerate(batch):
        size = (image.shape[-2], image.shape[-1])
        if labels is not None:
            present = labels[None].to(device)
            cam, cam_aux = resize(cams[i : i + 1], size), resize(cams_aux[i : i + 1], size)
            affinity = output.affinity[i : i + 1].float()
            found[i]["cam"] = cam_label_background(cam, present, background)
            found[i]["cam_class"], found[i]["cam_level"] = cam_levels(cam, present)
            found[i]["cam_aux"] = cam_label_background(cam_aux, present, background)
            found[i]["affinity"] = affinity_label(cam, present, affinity, grid, beside, radius)
            found[i]["mutual"] = mutual(found[i]["cam"], found[i]["cam"], found[i]["affinity"], late=True)
        found[i]["seg"] = resize(output.seg_logits[i : i + 1].float(), size).max(1).indices
        scales = [scale[i] for scale in maps]
        logits = logits_at(scales, size)
        found[i]["seg_ms"] = logits[None].max(1).indices
        absent = F.pad(output.cls_logits[i] <= 0, (1, 0))[:, None, None]  # less likely than not
        found[i]["seg_ms_filtered"] = logits.masked_fill_(absent, -torch.inf)[None].max(1).indices
        labels_of = {kind: label[0].to(torch.uint8).cpu().numpy() for kind, label in found[i].items()}
        stored = tuple(scale.half().cpu().numpy() for scale in scales)
        unsure = None
        if log_variance is not None:
            unsure = uncertainty(log_variance[i], grid).cpu().numpy()
        predictions.append(Prediction(name, labels_of, stored, unsure))
    return predictions
