"""Scores against the reference's numbers on the real VOC masks, and against torchmetrics."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MulticlassPrecision,
)

from unia.scoring.scores import confusion, mean, scores, union

ROOT = Path(__file__).parents[1]
VOC = ROOT.parent / "shared" / "data" / "voc"
GOLDEN = json.loads((ROOT / "tests" / "golden" / "voc_val_shift9.json").read_text())


def random_labels(classes: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Ground truth with ignored pixels, and a prediction right in about half of the pixels."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes + 1, (40, 50), dtype=np.uint8)
    noise = rng.integers(0, classes + 1, label.shape, dtype=np.uint8)
    prediction = np.where(rng.random(label.shape) < 0.5, label, noise)
    label[rng.random(label.shape) < 0.1] = 255
    return label, prediction


@pytest.mark.parametrize("classes", [1, 4, 20])
def test_scores_agree_with_torchmetrics(classes: int) -> None:
    label, prediction = random_labels(classes, seed=classes)
    found = scores(confusion(label, prediction, classes))
    truth, predicted = torch.from_numpy(label.astype(int)), torch.from_numpy(prediction.astype(int))
    for metric, values in (
        (MulticlassJaccardIndex, found.iou),
        (MulticlassF1Score, found.dice),
        (MulticlassPrecision, found.precision),
        (MulticlassAccuracy, found.recall),
    ):
        oracle = metric(num_classes=classes + 1, average=None, ignore_index=255)(predicted, truth)
        np.testing.assert_allclose(values, oracle.numpy(), rtol=1e-6)
    overall = MulticlassAccuracy(num_classes=classes + 1, average="micro", ignore_index=255)
    assert found.pixel_accuracy == pytest.approx(overall(predicted, truth).item(), rel=1e-6)
    assert found.mean_accuracy == pytest.approx(found.recall.mean())


def test_confusion_counts_pairs_and_leaves_out_ignored_pixels() -> None:
    label = np.array([[0, 1, 1, 255], [2, 2, 0, 255]], dtype=np.uint8)
    prediction = np.array([[0, 1, 2, 1], [2, 0, 0, 2]], dtype=np.uint8)
    assert confusion(label, prediction, 2).tolist() == [[2, 0, 0], [0, 1, 1], [1, 0, 1]]


def test_classes_absent_from_the_ground_truth_stay_out_of_the_means() -> None:
    matrix = np.array([[8, 0, 2], [0, 0, 0], [0, 0, 10]])
    found = scores(matrix)
    assert np.isnan(found.iou).tolist() == [False, True, False]
    assert found.miou == pytest.approx((8 / 10 + 10 / 12) / 2)
    assert mean(found.confusion_ratio) == pytest.approx((0 + 2 / 10) / 2)


def test_a_class_never_hit_has_no_precision_and_an_infinite_ratio() -> None:
    found = scores(np.array([[5, 0], [5, 0]]))
    assert found.precision[1] == found.iou[1] == 0
    assert found.confusion_ratio.tolist() == [1, np.inf]
    assert mean(found.confusion_ratio) == np.inf


def test_union_is_scored_as_if_its_classes_were_one() -> None:
    label, prediction = random_labels(4, seed=9)
    members = (1, 3)
    merged = union(confusion(label, prediction, 4), members)
    one_label = np.where(label == 255, 255, np.isin(label, members)).astype(np.uint8)
    one_prediction = np.isin(prediction, members).astype(np.uint8)
    assert (merged == confusion(one_label, one_prediction, 1)).all()


def test_wrong_sizes_and_unknown_classes_are_refused() -> None:
    label = np.zeros((3, 4), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"3 x 5.*3 x 4"):
        confusion(label, np.zeros((3, 5), dtype=np.uint8), 2)
    with pytest.raises(ValueError, match="prediction holds class 3"):
        confusion(label, label + np.uint8(3), 2)
    with pytest.raises(ValueError, match="mask holds class 3"):
        confusion(label + np.uint8(3), label, 2)


@pytest.mark.slow
@pytest.mark.golden
@pytest.mark.skipif(not VOC.is_dir(), reason="the VOC masks are not in ../shared/data")
def test_reference_scores_on_the_voc_val_masks() -> None:
    names = (VOC / "ImageSets" / "val.txt").read_text().split()
    assert len(names) == GOLDEN["n"]
    matrix = np.zeros((21, 21), dtype=np.int64)
    with zipfile.ZipFile(VOC / "SegmentationClassAug.zip") as archive:
        paths = {Path(name).stem: name for name in archive.namelist() if name.endswith(".png")}
        for name in names:
            label = np.asarray(Image.open(io.BytesIO(archive.read(paths[name]))))
            matrix += confusion(label, shift9(label), 20)
    found = scores(matrix)
    for key, values in (
        ("iou", found.iou),
        ("precision", found.precision),
        ("recall", found.recall),
        ("confusion", found.confusion_ratio),
        ("miou", found.miou),
        ("pAcc", found.pixel_accuracy),
        ("mAcc", found.mean_accuracy),
    ):
        np.testing.assert_allclose(values, GOLDEN[key], rtol=1e-9, atol=0, err_msg=key)


def shift9(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The golden prediction: rolled right by 9 pixels, 255 -> 0, then 15 -> 18 in odd columns."""
    prediction = np.roll(label, 9, axis=1)
    prediction[prediction == 255] = 0
    odd = prediction[:, 1::2]
    odd[odd == 15] = 18
    return prediction
