"""Distances between the surfaces of two 3-D masks, in mm, by medpy's definitions.

The surface of a mask is its voxels with a face towards the outside; distances are between the centres of
voxels. HD95 is the 95th percentile of the distances from each surface to the other, taken together; ASD the
mean distance from the prediction's surface to the truth's.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

from unia.scoring.scores import Floats

Mask = NDArray[np.bool_]


def hd95_and_asd(prediction: Mask, truth: Mask, spacing: Sequence[float]) -> tuple[float, float]:
    """Of two masks X Y Z, neither empty; `spacing`: mm between voxels along each axis."""
    there = _distances(prediction, truth, spacing)
    back = _distances(truth, prediction, spacing)
    return float(np.percentile(np.concatenate([there, back]), 95)), float(there.mean())


def _distances(one: Mask, other: Mask, spacing: Sequence[float]) -> Floats:
    """From each voxel of one mask's surface to the other's surface."""
    away: Floats = distance_transform_edt(~_surface(other), sampling=spacing)
    return away[_surface(one)]


def _surface(mask: Mask) -> Mask:
    return mask & ~binary_erosion(mask)
