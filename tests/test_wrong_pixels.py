"""AUROC of wrong pixels, against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from unia.scoring.wrong_pixels import BINS, Auroc, binned, mean_within, pooled, quantile_edges, within


@pytest.fixture
def images() -> list[tuple[np.ndarray, np.ndarray]]:
    """Thirty images: values that lie close together and tell a little, and which pixels are wrong."""
    rng = np.random.default_rng(1)
    made = []
    for _ in range(30):
        wrong = rng.random(500) < rng.uniform(0.05, 0.5)
        made.append((0.56 + 1e-5 * (rng.normal(size=500) + wrong), wrong))
    return made


def test_within_an_image_it_is_exact_and_ties_count_half() -> None:
    rng = np.random.default_rng(0)
    values, wrong = rng.integers(0, 5, 400).astype(float), rng.random(400) < 0.3
    assert within(values, wrong) == pytest.approx(roc_auc_score(wrong, values), abs=1e-12)
    assert within(np.zeros(4), np.array([True, False, False, True])) == 0.5
    assert np.isnan(within(values, np.zeros(400, dtype=bool)))
    assert np.isnan(within(values, np.ones(400, dtype=bool)))


def test_over_all_pixels_bins_come_close_however_close_the_values_lie(
    images: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    values, wrong = (np.concatenate(part) for part in zip(*images, strict=True))
    edges = quantile_edges(values)
    bins = np.stack([binned(*image, edges) for image in images])
    assert bins.shape == (30, 2, BINS)
    assert bins.sum() == 30 * 500
    found = pooled(bins)
    assert found.value == pytest.approx(roc_auc_score(wrong, values), abs=1e-4)
    assert found.low < found.value < found.high


def test_the_interval_is_over_images_not_pixels(images: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """A hundred times the pixels of the same images tell nothing more; four times the images do."""
    edges = quantile_edges(np.concatenate([values for values, _ in images]))
    bins = np.stack([binned(*image, edges) for image in images])
    width, of_pixels, of_images = (
        found.high - found.low for found in map(pooled, (bins, 100 * bins, np.tile(bins, (4, 1, 1))))
    )
    assert of_pixels == pytest.approx(width)
    assert of_images == pytest.approx(width / 2, rel=0.2)


def test_images_without_a_wrong_pixel_are_left_out_of_the_mean() -> None:
    assert mean_within([0.6, float("nan"), 0.8]).value == pytest.approx(0.7)
    assert np.isnan(mean_within([float("nan")]).value)
    nothing_wrong = np.zeros((3, 2, BINS), dtype=np.int64)
    nothing_wrong[:, 0, 7] = 5
    assert isinstance(pooled(nothing_wrong), Auroc)
    assert np.isnan(pooled(nothing_wrong).low)
