"""ImageNet's mean and standard deviation, and the way there and back."""

import numpy as np
import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
LEVELS_MEAN = (123.675, 116.28, 103.53)
LEVELS_STD = (58.395, 57.12, 57.375)
"""The same in levels of 8 bits: 255 times."""


def to_tensor(image: np.ndarray) -> Tensor:
    """uint8 H W 3 -> float32 3 H W in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div_(255)


def normalise(images: Tensor) -> Tensor:
    """(B) 3 H W in [0, 1] -> mean 0, standard deviation 1 over ImageNet."""
    return (images - _channel(MEAN, images)) / _channel(STD, images)


def denormalise(images: Tensor) -> Tensor:
    """(B) 3 H W normalised -> [0, 1], not truncated."""
    return images * _channel(STD, images) + _channel(MEAN, images)


def levels(images: Tensor) -> Tensor:
    """(B) 3 H W normalised -> the 256 levels of 8 bits, 0..255, truncated.

    The order of operations is the reference's, x * 255 std + 255 mean: in float32 another one, equal on
    paper, comes out just below the whole number at other levels, and truncation makes a level of that.
    """
    return (images * _channel(LEVELS_STD, images) + _channel(LEVELS_MEAN, images)).trunc_()


def _channel(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.stack([like.new_full((1, 1), value) for value in values])
