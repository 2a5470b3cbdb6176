"""Signals of wrong pixels, against entropies and interpolation computed one pixel at a time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from sklearn.metrics import roc_auc_score

from unia.data.samples import Sample
from unia.errors import UserError
from unia.model.segment import logits_at
from unia.steps.signals import Signals

CLASSES, SIZE, NAMES = 4, (40, 56), ("one", "two", "three")


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """Logits of two scales for three images, and an uncertainty that varies by 1e-5."""
    rng = np.random.default_rng(0)
    for part in ("logits", "uncertainty"):
        (tmp_path / part).mkdir()
    for name in NAMES:
        maps = [rng.normal(scale=3, size=(CLASSES, side, side)).astype(np.float16) for side in (5, 7)]
        np.savez(tmp_path / "logits" / f"{name}.npz", *maps)
        u = (0.5606 + 1e-5 * rng.random((5, 5))).astype(np.float32)
        np.save(tmp_path / "uncertainty" / f"{name}.npy", u)
    return tmp_path


def samples() -> tuple[Sample, ...]:
    return tuple(Sample(name, Path("image"), Path("mask"), (1,)) for name in NAMES)


def test_each_signal_tells_wrong_pixels_as_computed_by_hand(predictions: Path) -> None:
    signals = Signals.of(predictions, samples(), CLASSES)
    assert signals is not None
    rng = np.random.default_rng(1)
    label = rng.integers(0, CLASSES, SIZE, dtype=np.uint8)
    label[:5] = 255
    with np.load(predictions / "logits" / "two.npz") as stored:
        maps = [torch.from_numpy(stored[name]).float() for name in stored.files]
    logits = logits_at(maps, SIZE)
    predicted = logits.argmax(0).numpy().astype(np.uint8)
    seen = signals.see("two", label, predicted)

    rows, columns = np.arange(2, SIZE[0], 4), np.arange(2, SIZE[1], 4)
    u = np.load(predictions / "uncertainty" / "two.npy").astype(np.float64)
    truth: list[bool] = []
    values: dict[str, list[float]] = {"uncertainty": [], "entropy": [], "foreground": []}
    for row in rows:
        for column in columns:
            if label[row, column] == 255:
                continue
            truth.append(bool(label[row, column] != predicted[row, column]))
            p = np.exp(logits[:, row, column].double().numpy())
            p /= p.sum()
            place = ((row + 0.5) * 5 / SIZE[0] - 0.5, (column + 0.5) * 5 / SIZE[1] - 0.5)
            values["uncertainty"].append(
                map_coordinates(u, np.array(place)[:, None], order=1, mode="nearest")[0]
            )
            values["entropy"].append(float(-(p * np.log(p)).sum()))
            values["foreground"].append(float(predicted[row, column] > 0))
    for signal, (inside, bins) in seen.items():
        assert inside == pytest.approx(roc_auc_score(truth, values[signal]), abs=2e-3), signal
        assert bins.sum(axis=1).tolist() == [truth.count(False), truth.count(True)]

    document = signals.document({signal: [found, found] for signal, found in seen.items()})
    for signal in values:
        assert document["signals"][signal]["pixels"][0] == pytest.approx(
            roc_auc_score(truth, values[signal]), abs=1e-2
        )
    assert document["u"]["0%"] < document["u"]["50%"] < document["u"]["100%"]


def test_without_uncertainty_or_logits_what_is_there_counts(predictions: Path) -> None:
    (predictions / "uncertainty").rename(predictions / "none")
    signals = Signals.of(predictions, samples(), CLASSES)
    assert signals is not None
    assert list(signals.edges) == ["entropy", "foreground"]
    (predictions / "logits").rename(predictions / "nothing")
    assert Signals.of(predictions, samples(), CLASSES) is None


def test_a_damaged_uncertainty_is_named(predictions: Path) -> None:
    path = predictions / "uncertainty" / "one.npy"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"one\.npy: no readable uncertainty .* run infer again"):
        Signals.of(predictions, samples(), CLASSES)
    path.unlink()
    with pytest.raises(UserError, match=r"one\.npy: no such file; run infer for this split again"):
        Signals.of(predictions, samples(), CLASSES)
    np.save(path, np.zeros(3))
    with pytest.raises(UserError, match=r"one\.npy: holds float64 \(3,\), no map of tokens"):
        Signals.of(predictions, samples(), CLASSES)
