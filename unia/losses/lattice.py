"""Gaussian filtering in a few dimensions by a permutohedral lattice, in PyTorch alone.

Adams, Baek, Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Eurographics 2010.
Points are lifted onto the hyperplane of d+1 coordinates that sum to zero, spread over the d+1 corners
of the simplex they lie in (splat), blurred along the d+1 axes, and read back (slice). Every shape is known
beforehand, so that a GPU never waits.
"""

from functools import lru_cache

import torch
from torch import Tensor


def lattice_filter(features: Tensor, values: Tensor) -> Tensor:
    """About sum_j exp(-|f_i - f_j|^2 / 2) v_j: features B N d, values B N C -> B N C.

    The lattice's own approximation, up to its scale (the blur's weights are 1/2, 1, 1/2). Features may
    reach a few hundred in every direction (63/d bits hold a coordinate).
    """
    batch, points, d = features.shape
    channels = values.shape[-1]
    keys, weights = _simplex(features)
    slots, table = _slots(keys.flatten(1))
    capacity = table.shape[1]
    first = torch.arange(batch, device=features.device)[:, None] * capacity
    rows = (slots + first).flatten()

    spread = weights[..., None].to(values.dtype) * values[:, :, None]
    grid = values.new_zeros(batch * capacity, channels).index_add_(0, rows, spread.view(-1, channels))
    for up, down in _neighbours(table, d, first):
        blank = torch.cat([grid, grid.new_zeros(1, channels)])
        grid = grid + 0.5 * (blank[up] + blank[down])
    read = grid[rows].view(batch, points, d + 1, channels) * weights[..., None].to(values.dtype)
    return read.sum(2) / (1 + 2.0**-d)


def _simplex(features: Tensor) -> tuple[Tensor, Tensor]:
    """The corners of each point's simplex: (keys int64 B N d+1, barycentric weights B N d+1)."""
    d = features.shape[-1]
    lifted = _lift(features)
    nearest = (lifted / (d + 1)).floor() * (d + 1)
    nearest = torch.where(nearest + (d + 1) - lifted < lifted - nearest, nearest + (d + 1), nearest)
    residue = lifted - nearest
    # how many coordinates have a larger residue; of equal ones the first ranks first
    own, other = residue[..., :, None], residue[..., None, :]
    earlier = torch.ones(d + 1, d + 1, dtype=torch.bool, device=features.device).tril(-1)
    rank = ((other > own) | ((other == own) & earlier)).sum(-1)
    excess = (nearest.sum(-1, keepdim=True) / (d + 1)).round().long()
    rank = rank + excess
    over, under = rank > d, rank < 0  # back onto the hyperplane
    nearest = nearest - (d + 1) * over.to(nearest.dtype) + (d + 1) * under.to(nearest.dtype)
    rank = rank - (d + 1) * over.long() + (d + 1) * under.long()

    share = (lifted - nearest) / (d + 1)
    # by_rank[k]: the share of the coordinate of rank d - k; weight k is the step between two of these
    by_rank = torch.zeros_like(share).scatter_(-1, d - rank, share)
    weights = by_rank - by_rank.roll(1, -1)
    weights[..., 0] += 1

    remainder = torch.arange(d + 1, device=features.device)[:, None]
    corner = remainder - (d + 1) * (rank[..., None, :] > d - remainder).long()
    return _encode(nearest.long()[..., None, :] + corner, d), weights


def _lift(features: Tensor) -> Tensor:
    """Onto the hyperplane, scaled so that the blur's standard deviation is 1: B N d -> B N d+1."""
    d = features.shape[-1]
    with torch.autocast(features.device.type, enabled=False):
        return features @ _basis(d, features.device, features.dtype)


@lru_cache
def _basis(d: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """d x d+1: where each feature's axis lies on the hyperplane."""
    with torch.inference_mode(False):  # the cached tensor outlives the mode of its first caller
        index = torch.arange(1, d + 1, dtype=torch.float64)
        axes = torch.ones(d, d + 1, dtype=torch.float64).tril() - torch.diag_embed(index, 1)[:d]
        length = (2 / 3) ** 0.5 * (d + 1) / (index * (index + 1)).sqrt()
        return (axes * length[:, None]).to(device, dtype)


def _encode(corners: Tensor, d: int) -> Tensor:
    """One int64 for the first d coordinates (the last follows); adding codes adds coordinates."""
    bits = 63 // d
    code = torch.zeros_like(corners[..., 0])
    for i in range(d):
        code += (corners[..., i] + (1 << (bits - 1))) << (bits * i)
    return code


def _slots(keys: Tensor) -> tuple[Tensor, Tensor]:
    """(slot of each key B M, table B capacity of the different keys, sorted, then the largest int64)."""
    ordered, order = keys.sort(1)
    new = torch.zeros_like(ordered)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    rank = new.flatten().cumsum(0).view_as(new)  # in one row: a scan of few long ones is slow on a GPU
    rank = rank - rank[:, :1]
    slots = torch.zeros_like(rank).scatter_(1, order, rank)
    table = torch.full_like(ordered, torch.iinfo(torch.int64).max).scatter_(1, rank, ordered)
    if not keys.is_cuda:  # the exact size saves time where asking for it costs none
        table = table[:, : int(rank[:, -1].max()) + 1].contiguous()
    return slots, table


def _neighbours(table: Tensor, d: int, first: Tensor) -> list[tuple[Tensor, Tensor]]:
    """For each axis the rows one step up and down from each row; absent ones are the row past the end."""
    bits = 63 // d
    none = table.numel()
    own = (torch.arange(table.shape[1], device=table.device) + first).flatten()
    found = []
    for axis in range(d + 1):
        step = sum(1 << (bits * i) for i in range(d)) - ((d + 1) << (bits * axis) if axis < d else 0)
        real = table != torch.iinfo(torch.int64).max
        target = torch.where(real, table, 0) + step
        place = torch.searchsorted(table, target).clamp_(max=table.shape[1] - 1)
        hit = (table.gather(1, place) == target) & real
        up = torch.where(hit, place + first, none).flatten()
        down = torch.full((none + 1,), none, device=table.device).scatter_(0, up, own)[:none]
        found.append((up, down))
    return found
