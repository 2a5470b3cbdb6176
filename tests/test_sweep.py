"""Scores over the CAM's threshold, against label maps made and scored one threshold at a time."""

import numpy as np
import pytest
import torch

from unia.refine.pseudo_label import cam_label_background, cam_levels
from unia.scoring.scores import confusion, scores
from unia.scoring.sweep import LEVELS, at, best, counts, curve

CLASSES = 3


@pytest.fixture
def split() -> list[tuple[torch.Tensor, torch.Tensor, np.ndarray]]:
    """Five images: CAMs 1 C H W, image-level labels 1 C, masks H W with ignored pixels."""
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    images = []
    for number in range(5):
        cams = torch.rand((1, CLASSES, 9, 7), generator=generator)
        labels = torch.tensor([[1.0, number % 2, 0]])
        mask = rng.integers(0, 3, (9, 7), dtype=np.uint8)  # class 3 is nowhere
        mask[0] = 255
        images.append((cams, labels, mask))
    return images


def test_every_threshold_scores_as_its_label_maps_do(
    split: list[tuple[torch.Tensor, torch.Tensor, np.ndarray]],
) -> None:
    found = np.zeros((2, CLASSES + 1, LEVELS + 1), dtype=np.int64)
    levels = []
    for cams, labels, mask in split:
        name, level = (part[0].numpy().astype(np.uint8) for part in cam_levels(cams, labels))
        levels.append((name, level))
        found += counts(mask, name, level, CLASSES)
    truth = np.bincount(np.concatenate([m[m != 255] for _, _, m in split]), minlength=CLASSES + 1)
    thresholds, miou = curve(found, truth)
    assert thresholds == pytest.approx(np.arange(0.05, 0.96, 0.05))
    expected = []
    for threshold in thresholds:
        total = np.zeros((CLASSES + 1, CLASSES + 1), dtype=np.int64)
        for (cams, labels, mask), (name, level) in zip(split, levels, strict=True):
            label = cam_label_background(cams, labels, float(threshold))[0].numpy().astype(np.uint8)
            np.testing.assert_array_equal(at(threshold, name, level), label)
            total += confusion(mask, label, CLASSES)
        expected.append(np.nanmean(scores(total).iou))
    assert miou == pytest.approx(expected, abs=1e-12)
    assert best(found, truth) == thresholds[np.argmax(expected)]
