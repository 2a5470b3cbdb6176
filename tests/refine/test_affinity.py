"""Propagation along the affinity against the reference's numbers and against plain loops."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unia.refine.affinity import affinity_label, propagated, radius_mask
from unia.resize import resize

GOLDEN = Path(__file__).parents[1] / "golden" / "affinity.npz"
CPU = torch.device("cpu")


def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN) as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays}


def difference(affinity: Tensor, radius: int, background: float = 0.5) -> float:
    arrays = golden()
    masks = propagated(arrays["cams"], arrays["labels"], affinity, background, radius)
    return float((masks - arrays["propagated"]).abs().max() / arrays["propagated"].std())


@pytest.mark.golden
def test_reference() -> None:
    arrays = golden()
    radius = int(arrays["radius"])
    assert torch.equal(radius_mask(10, 10, radius, CPU), arrays["radius_mask"].bool())
    found = difference(arrays["affinity"], radius)
    print(f"propagated: {found:.1e} of the standard deviation")
    assert found < 1e-5


@pytest.mark.golden
def test_reference_catches_planted_errors() -> None:
    affinity = golden()["affinity"]
    wrong = {
        "transposed": difference(affinity.transpose(1, 2), 3),
        "not squared": difference(affinity.sqrt(), 3),
        "radius": difference(affinity, 4),
        "background": difference(affinity, 3, background=0.45),
    }
    print({name: f"{found:.1e}" for name, found in wrong.items()})
    assert min(wrong.values()) > 1e-3


@pytest.mark.parametrize(("h", "w", "radius"), [(3, 5, 1), (4, 2, 2), (1, 6, 3), (5, 5, 9)])
def test_radius_mask(h: int, w: int, radius: int) -> None:
    mask = radius_mask(h, w, radius, CPU)
    for i in range(h * w):
        for j in range(h * w):
            apart = max(abs(i // w - j // w), abs(i % w - j % w))
            assert bool(mask[i, j]) == (apart <= radius)


def test_propagated_is_what_loops_make_of_it() -> None:
    h, w, radius, background = 2, 3, 1, 0.5
    cams, affinity = torch.rand(1, 3, h, w, dtype=torch.float64), torch.rand(1, 6, 6, dtype=torch.float64)
    labels = torch.tensor([[1, 0, 1]])
    masks = torch.zeros(4, 6, dtype=torch.float64)
    for token in range(6):
        scores = torch.stack([torch.tensor(background), *cams[0, [0, 2], token // w, token % w]])
        masks[[0, 1, 3], token] = scores.softmax(0)
    near = radius_mask(h, w, radius, CPU)
    expected = torch.zeros(4, 6, dtype=torch.float64)
    for j in range(6):
        column = [float(affinity[0, i, j]) ** 2 if near[i, j] else 0.0 for i in range(6)]
        for i in range(6):
            expected[:, j] += masks[:, i] * column[i] / (sum(column) + 0.1)
    found = propagated(cams, labels, affinity, background, radius)
    torch.testing.assert_close(found[0].flatten(1), expected)


def test_label_at_the_size_of_the_cams() -> None:
    cams, affinity = torch.rand(2, 3, 21, 34), torch.rand(2, 6, 6)
    labels = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    label = affinity_label(cams, labels, affinity, (2, 3), background=0.5, radius=1)
    assert label.shape == (2, 21, 34)
    assert label.dtype == torch.int64
    assert set(label[0].flatten().tolist()) <= {0, 2, 3}
    assert not label[1].any()
    masks = propagated(resize(cams, (2, 3)), labels, affinity, 0.5, 1)
    assert torch.equal(label, resize(masks, (21, 34)).argmax(1))


def test_precision_survives_autocast() -> None:
    cams, labels, affinity = torch.rand(1, 2, 3, 3), torch.ones(1, 2), torch.rand(1, 9, 9)
    expected = propagated(cams, labels, affinity, 0.5, 2)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(propagated(cams, labels, affinity, 0.5, 2), expected)
