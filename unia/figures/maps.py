"""What the network sees in one image: its CAMs, its uncertainty, and whom a token resembles."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unia.model.cam import multi_scale_cams
from unia.model.segment import resized
from unia.model.uncertainty import uncertainty
from unia.model.windows import Network
from unia.resize import resize

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Maps:
    """All in [0, 1]. `token` (row, column of the token grid) is the one where the CAM is strongest."""

    cam: Map  # H W: the strongest of the image's classes
    cam_aux: Map  # H W
    uncertainty: Map | None  # h w; None for a network without uncertainty inference
    affinity: Map  # h w: of `token` to every token
    token: tuple[int, int]


@torch.inference_mode()
def maps(
    model: Network, image: Tensor, labels: Tensor | None, base: tuple[int, int], scales: Sequence[float]
) -> Maps:
    """The maps of a normalised `image` 3 H W, which the network sees at the size `base`.

    `labels`: C in {0, 1}, the image's classes (None: all); `scales`: of the CAM.
    """
    seen = resized([image], base)
    output = model(seen)
    grid = (output.features.shape[-2], output.features.shape[-1])
    cam, cam_aux = (
        _strongest(cams[0], labels)
        for cams in multi_scale_cams(model, seen, scales, (output.features, output.features_aux))
    )
    unsure = None
    if output.log_variance is not None:
        unsure = _array(uncertainty(output.log_variance[0], grid))
    place = int(resize(cam[None, None], grid).argmax())
    size = (image.shape[-2], image.shape[-1])
    return Maps(
        cam=_array(resize(cam[None, None], size)[0, 0]),
        cam_aux=_array(resize(cam_aux[None, None], size)[0, 0]),
        uncertainty=unsure,
        affinity=_array(output.affinity[0, place].unflatten(0, grid)),
        token=(place // grid[1], place % grid[1]),
    )


def _strongest(cams: Tensor, labels: Tensor | None) -> Tensor:
    """C H W -> H W: the largest value of the classes present; 0 where there is none."""
    present = cams if labels is None else cams * labels[:, None, None].to(cams)
    return present.amax(0)


def _array(tensor: Tensor) -> Map:
    array: Map = tensor.float().cpu().numpy()
    return array
