"""The two Gaussian filters against slow ones: all pairs of points, and a lattice kept in a dict."""

import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from unia.losses.exact import exact_filter
from unia.losses.lattice import lattice_filter

Array = NDArray[np.float64]


def points(batch: int, count: int, d: int, channels: int, spread: float = 2.0) -> tuple[Tensor, Tensor]:
    """Features B N d and values B N C, random, in float64."""
    generator = torch.Generator().manual_seed(count + d)
    features = torch.randn(batch, count, d, generator=generator, dtype=torch.float64) * spread
    return features, torch.rand(batch, count, channels, generator=generator, dtype=torch.float64)


def all_pairs(features: Tensor, values: Tensor) -> Tensor:
    squared = (features[:, :, None] - features[:, None]).square().sum(-1)
    return (-squared / 2).exp() @ values


def dict_lattice(features: Array, values: Array) -> Array:
    """Adams et al. 2010, point by point: features N d, values N C -> N C.

    Corners are found by going from the point's remainder-0 point up the coordinates, the largest
    differential first.
    """
    count, d = features.shape
    grid: dict[tuple[int, ...], Array] = defaultdict(lambda: np.zeros(values.shape[1]))
    read: list[list[tuple[tuple[int, ...], float]]] = []
    for i in range(count):
        corners = simplex(lift(features[i]))
        read.append(corners)
        for corner, weight in corners:
            grid[corner] = grid[corner] + weight * values[i]
    for axis in range(d + 1):
        step = np.ones(d + 1, dtype=int)
        step[axis] = -d
        old = dict(grid)
        none = np.zeros(values.shape[1])
        for corner in old:
            up, down = (tuple(np.array(corner) + sign * step) for sign in (1, -1))
            grid[corner] = old[corner] + 0.5 * (old.get(up, none) + old.get(down, none))
    filtered = np.array([sum(weight * grid[corner] for corner, weight in corners) for corners in read])
    return filtered / (1 + 2.0**-d)


def lift(f: Array) -> Array:
    """Onto the hyperplane of coordinates with sum zero; the blur then has standard deviation 1."""
    d = len(f)
    lifted = np.zeros(d + 1)
    for i in range(d):  # the axis (1, ..., 1, -(i+1), 0, ...), to unit length
        axis = np.zeros(d + 1)
        axis[: i + 1], axis[i + 1] = 1, -(i + 1)
        lifted += f[i] * axis / np.linalg.norm(axis)
    return lifted * math.sqrt(2 / 3) * (d + 1)


def simplex(lifted: Array) -> list[tuple[tuple[int, ...], float]]:
    """The corners around a point and its barycentric weights there."""
    n = len(lifted)
    start = np.rint(lifted / n).astype(int) * n
    while start.sum() != 0:  # to the nearest remainder-0 point: mend the coordinate it costs least
        sign = -1 if start.sum() > 0 else 1
        start[np.argmax(sign * (lifted - start))] += sign * n
    difference = lifted - start
    order = np.argsort(-difference, kind="stable")
    corners = []
    for remainder in range(n):
        corner = start + remainder
        corner[order[n - remainder :]] -= n
        corners.append(corner)
    matrix = np.vstack([np.array(corners).T, np.ones(n)])
    weights = np.linalg.lstsq(matrix, np.append(lifted, 1), rcond=None)[0]
    assert weights.min() > -1e-9
    return [(tuple(map(int, c)), float(w)) for c, w in zip(corners, weights, strict=True)]


@pytest.mark.parametrize(("count", "d", "channels"), [(30, 1, 2), (70, 3, 4), (90, 5, 21)])
def test_exact_equals_all_pairs(count: int, d: int, channels: int) -> None:
    features, values = points(3, count, d, channels)
    torch.testing.assert_close(exact_filter(features, values), all_pairs(features, values))


def test_exact_holds_far_from_the_origin_in_float32() -> None:
    """As for image coordinates and colours: features of some tens, all points on one side of zero."""
    features, values = points(2, 200, 5, 7, spread=4)
    features = features + 15
    expected = all_pairs(features, values)
    filtered = exact_filter(features.float(), values.float()).double()
    assert (filtered - expected).abs().max() < 1e-3 * expected.max()


@pytest.mark.parametrize("d", [1, 2, 3, 5])
@pytest.mark.parametrize("spread", [0.3, 3.0])
def test_lattice_equals_one_in_a_dict(d: int, spread: float) -> None:
    features, values = points(2, 60, d, 3, spread)
    expected = [dict_lattice(f.numpy(), v.numpy()) for f, v in zip(features, values, strict=True)]
    filtered = lattice_filter(features, values)
    np.testing.assert_allclose(filtered.numpy(), np.array(expected), rtol=1e-7, atol=1e-9)


def test_lattice_approximates_all_pairs() -> None:
    """Up to its scale; so does the reference's (correlation 0.988 on its image)."""
    generator = torch.Generator().manual_seed(2)
    features = torch.rand(1, 3000, 5, generator=generator, dtype=torch.float64) * 3
    values = torch.rand(1, 3000, 2, generator=generator, dtype=torch.float64)
    both = torch.stack([lattice_filter(features, values).flatten(), all_pairs(features, values).flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.95


def test_order_of_the_points_does_not_matter() -> None:
    features, values = points(2, 150, 5, 4)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(1))
    for filter in (lattice_filter, exact_filter):
        shuffled = filter(features[:, order], values[:, order])
        torch.testing.assert_close(shuffled, filter(features, values)[:, order])


def test_images_of_a_batch_do_not_mix() -> None:
    features, values = points(3, 80, 5, 4)
    for filter in (lattice_filter, exact_filter):
        alone = torch.cat([filter(features[i : i + 1], values[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(filter(features, values), alone)


def test_lattice_is_linear_in_the_values() -> None:
    features, values = points(1, 100, 5, 2)
    other = values.flip(1)
    together = lattice_filter(features, 2 * values - other)
    separate = 2 * lattice_filter(features, values) - lattice_filter(features, other)
    torch.testing.assert_close(together, separate)
