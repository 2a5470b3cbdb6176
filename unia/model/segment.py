"""Segmentation logits of whole images, over scales and mirror images. Method section 6."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unia.model.network import UniA
from unia.refine.resize import resize


def squares(images: Sequence[Tensor], side: int) -> Tensor:
    """Images 3 H W of any size, each resized to side x side: B 3 side side."""
    return torch.cat([resize(image[None], (side, side)) for image in images])


@torch.no_grad()
def multi_scale_logits(
    model: UniA, images: Sequence[Tensor], crop: int, scales: Sequence[float]
) -> list[Tensor]:
    """Logits C+1 H W of normalised images 3 H W, each at its own size, float32 (float64 stays).

    For each scale s the images are squares of int(crop s); the logits of image and mirror image are
    resized to H W and added, and over scales the largest counts.
    """
    best: list[Tensor] = []
    for scale in scales:
        square = squares(images, int(crop * scale))
        straight, mirrored = _precise(model.segment(torch.cat([square, square.flip(-1)]))).chunk(2)
        for index, image in enumerate(images):
            size = (image.shape[-2], image.shape[-1])
            logits = resize(straight[index : index + 1], size) + resize(
                mirrored[index : index + 1], size
            ).flip(-1)
            if index < len(best):
                best[index] = torch.maximum(best[index], logits[0])
            else:
                best.append(logits[0])
    return best


def _precise(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
