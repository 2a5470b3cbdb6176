"""Multi-scale class activation maps. Method section 2."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from unia.model.network import UniA
from unia.refine.cam import combine


@torch.no_grad()
def multi_scale_cams(
    model: UniA, images: Tensor, scales: Sequence[float], known: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """(CAM, auxiliary CAM) of normalised `images` B 3 H W, both B C H W in [0, 1], float32.

    `known`: the feature maps (X, auxiliary) of the images themselves, where a forward pass has them
    already; the pass of scale 1 then runs on the mirror images only.
    """
    size = (images.shape[-2], images.shape[-1])
    main, auxiliary = [], []
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
        cam, cam_aux = model.cams(features, features_aux)
        main.append(tuple(cam.float().chunk(2)))
        auxiliary.append(tuple(cam_aux.float().chunk(2)))
    return combine(main, size), combine(auxiliary, size)
