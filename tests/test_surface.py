"""HD95 and ASD, against all distances between surface voxels found one by one."""

from itertools import product

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from unia.scoring.surface import hd95_and_asd

SPACING = (1.5, 1.25, 8.0)


def surface(mask: np.ndarray) -> np.ndarray:
    """Places, in mm, of the voxels that have a face towards the outside; outside of the array is outside."""
    places = []
    for place in product(*map(range, mask.shape)):
        if not mask[place]:
            continue
        for axis, step in product(range(3), (-1, 1)):
            beside = list(place)
            beside[axis] += step
            if not 0 <= beside[axis] < mask.shape[axis] or not mask[tuple(beside)]:
                places.append(np.array(place) * SPACING)
                break
    return np.array(places)


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_those_between_all_surface_voxels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prediction, truth = np.zeros((2, 9, 8, 5), dtype=bool)
    prediction[1:6, 2:7, :4] = True
    truth[3:9, 1:6, 1:] = True
    prediction ^= rng.random(prediction.shape) < 0.1
    apart = cdist(surface(prediction), surface(truth))
    there, back = apart.min(axis=1), apart.min(axis=0)
    hd95, asd = hd95_and_asd(prediction, truth, SPACING)
    assert hd95 == pytest.approx(np.percentile(np.concatenate([there, back]), 95))
    assert asd == pytest.approx(there.mean())


def test_equal_masks_are_at_no_distance() -> None:
    mask = np.zeros((6, 6, 3), dtype=bool)
    mask[1:4, 2:5, 1] = True
    assert hd95_and_asd(mask, mask, SPACING) == (0, 0)
    assert hd95_and_asd(mask, np.roll(mask, 1, axis=2), SPACING) == (8, 8)
