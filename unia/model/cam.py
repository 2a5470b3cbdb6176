"""Multi-scale class activation maps. Method section 2."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from unia.resize import resize

if TYPE_CHECKING:  # to import the network takes seconds
    from unia.model.windows import Network

EPSILON = 1e-5


@torch.no_grad()
def multi_scale_cams(
    model: "Network",
    images: Tensor,
    scales: Sequence[float],
    known: tuple[Tensor, Tensor] | None = None,
    classes: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(CAM, auxiliary CAM) of normalised `images` B 3 H W, both B C H W in [0, 1], float32.

    `classes`: B K, of each image the indices of the classes wanted; the CAMs are then B K H W.

    `known`: the feature maps (X, auxiliary) of the images themselves, where a forward pass has them
    already; the pass of scale 1 then runs on the mirror images only.
    """
    size = (images.shape[-2], images.shape[-1])
    main: list[tuple[Tensor, Tensor]] = []
    auxiliary: list[tuple[Tensor, Tensor]] = []
    for scale in scales:
        scaled = images
        if scale != 1:
            target = (int(scale * size[0]), int(scale * size[1]))
            scaled = F.interpolate(images, target, mode="bilinear", align_corners=False)
        if scale == 1 and known is not None:
            mirrored = model.feature_maps(scaled.flip(-1))
            features = torch.cat([known[0].detach(), mirrored[0]])
            features_aux = torch.cat([known[1].detach(), mirrored[1]])
        else:
            features, features_aux = model.feature_maps(torch.cat([scaled, scaled.flip(-1)]))
        for kept, cam in zip((main, auxiliary), model.cams(features, features_aux), strict=True):
            straight, mirror = _chosen(cam.float(), classes).chunk(2)
            kept.append((straight, mirror))
    return combine(main, size), combine(auxiliary, size)


def _chosen(cams: Tensor, classes: Tensor | None) -> Tensor:
    """2B C h w, images and their mirror images, to 2B K h w."""
    if classes is None:
        return cams
    index = classes.repeat(2, 1)[..., None, None].expand(-1, -1, *cams.shape[-2:])
    return cams.gather(1, index)


def combine(scales: Iterable[tuple[Tensor, Tensor]], size: tuple[int, int]) -> Tensor:
    """Normalised CAM of all scales: B x C x H x W in [0, 1], `size` = (H, W).

    scales: for each, the CAMs of the image and of its mirror image, both B x C x h x w as the network
    gave them (h, w differ between scales). Of each pair the larger value counts, if positive; scales add.
    """
    pairs = (torch.maximum(resize(cam, size), resize(mirrored, size).flip(-1)) for cam, mirrored in scales)
    first, *others = (pair.relu_() for pair in pairs)
    for other in others:
        first += other
    return normalise(first)


@torch.no_grad()
def normalise(cam: Tensor) -> Tensor:
    """Each class of a B x C x H x W CAM minus its minimum, then over (its maximum + 1e-5): in [0, 1)."""
    cam = cam - cam.amin((-2, -1), keepdim=True)
    return cam / (cam.amax((-2, -1), keepdim=True) + EPSILON)
