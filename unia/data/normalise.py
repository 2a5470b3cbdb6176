"""ImageNet's mean and standard deviation, and the way there and back."""

import numpy as np
import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def to_tensor(image: np.ndarray) -> Tensor:
    """uint8 H W 3 -> float32 3 H W in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div_(255)


def normalise(images: Tensor) -> Tensor:
    """(B) 3 H W in [0, 1] -> mean 0, standard deviation 1 over ImageNet."""
    return (images - _channel(MEAN, images)) / _channel(STD, images)


def denormalise(images: Tensor) -> Tensor:
    """(B) 3 H W normalised -> [0, 1], not truncated."""
    return images * _channel(STD, images) + _channel(MEAN, images)


def _channel(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.stack([like.new_full((1, 1), value) for value in values])
