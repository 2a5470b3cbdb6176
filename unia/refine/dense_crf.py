"""Mean field inference of a fully connected CRF (Krähenbühl and Koltun, NeurIPS 2011, algorithm 1).

The bilateral term is pydensecrf's, on the permutohedral lattice. The Gaussian term, a blur of a pixel or so,
is a convolution here: the same filter for a fraction of the lattice's time.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from unia.recipe import Crf

HASH = 5 * 139 * 479
"""pydensecrf's lattice puts keys that are multiples of these primes into a table of a size that the number of
points gives. A common factor crowds them into a fraction of the table: 30 times slower at 479 x 640."""


def mean_field(config: Crf, image: NDArray[np.uint8], probability: NDArray[np.floating]) -> NDArray[np.intp]:
    """The place (H x W) among the K classes of `probability`, K x H x W in [0, 1], that wins each pixel.

    `image` is H x W x 3 RGB. Runs `config.iterations` iterations, fewer where one changes the class of at
    most the share `config.settled` of the pixels.
    """
    # Imported in the worker, where OpenMP has been told to use one thread.
    from pydensecrf.densecrf import DenseCRF
    from pydensecrf.utils import unary_from_softmax

    classes, height, width = probability.shape
    if classes == 1:
        return np.zeros((height, width), np.intp)
    pixels = height * width
    features = _roomy(_bilateral(config, image))
    unary = np.zeros((classes, features.shape[1]), np.float32)
    unary[:, :pixels] = unary_from_softmax(probability.astype(np.float32))
    field = DenseCRF(features.shape[1], classes)
    field.setUnaryEnergy(unary)
    field.addPairwiseEnergy(features, compat=config.bilateral_compat)
    kernel = _gaussian(config.gaussian_sxy)
    # The symmetric normalisation: both sides of the filter by the root of its response to ones.
    norm = _smooth(torch.ones(height, width, 1), kernel).rsqrt()
    state, *buffers = field.startInference()
    belief = np.asarray(state).T[:pixels]  # H W x K, a view that each step rewrites
    label = belief.argmax(axis=1)
    energy = unary.copy()
    for _ in range(config.iterations):
        now = torch.from_numpy(belief).view(height, width, classes)
        message = config.gaussian_compat * norm * _smooth(now * norm, kernel)
        energy[:, :pixels] = unary[:, :pixels] - message.flatten(0, 1).T.numpy()
        field.setUnaryEnergy(energy)
        field.stepInference(state, *buffers)
        before, label = label, belief.argmax(axis=1)
        if (label != before).mean() <= config.settled:
            break
    return label.reshape(height, width)


def _bilateral(config: Crf, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Place (column, row) and colour of each of N pixels in units of the kernel, 5 x N."""
    rows, columns = np.indices(image.shape[:2]).reshape(2, -1)
    place = np.stack([columns, rows]) / config.bilateral_sxy
    colour = image.reshape(-1, 3).T / config.bilateral_srgb
    return np.concatenate([place, colour]).astype(np.float32)


def _roomy(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """`features` and, far from all of them, the few points more that suit HASH."""
    extra = 0
    while np.gcd(features.shape[1] + extra, HASH) > 1:
        extra += 1
    return np.pad(features, ((0, 0), (0, extra)), constant_values=1e4)


def _gaussian(sigma: float) -> Tensor:
    reach = int(np.ceil(3 * sigma))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    return weights / weights.sum()


def _smooth(maps: Tensor, kernel: Tensor) -> Tensor:
    """`maps`, H W K, each convolved with `kernel` along both axes; zero beyond the border."""
    count, reach = maps.shape[-1], len(kernel) // 2
    down = kernel.view(1, 1, -1, 1).repeat(count, 1, 1, 1)
    # The classes stay last in memory, where pydensecrf has them: several times faster than first.
    rows = F.conv2d(maps.permute(2, 0, 1)[None], down, padding=(reach, 0), groups=count)
    both = F.conv2d(rows, down.transpose(2, 3), padding=(0, reach), groups=count)
    return both[0].permute(1, 2, 0)
