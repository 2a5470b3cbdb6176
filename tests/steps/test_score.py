"""scores.json and the table, against scores computed one image and one class at a time."""

import csv
import io
import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from small_split import CLASSES, KINDS, Small, make_small

from unia.data.samples import read_mask, write_label
from unia.errors import UserError
from unia.figures.confusion import confusion_figure
from unia.files import read_json, write_json
from unia.steps.score import score
from unia.steps.table import show, summary, table

GROUPS = {"RV": [1], "Myo": [2], "LV": [3], "heart": [1, 2, 3]}


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return make_small(tmp_path)


def run(small: Small, split: str = "val") -> Path:
    out = small.data.parent / "scores.json"
    score(small.data, split, small.predictions, small.crf, out, out.with_name("images.csv"))
    return out


def pixels(small: Small, folder: Path, prefix: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """All counted pixels, (truth, prediction), of the images whose name starts with `prefix`."""
    names = [name for name in small.names if name.startswith(prefix)]
    truth = np.concatenate([read_mask(small.data / f"{n}.png").ravel() for n in names])
    predicted = np.concatenate([read_mask(folder / f"{n}.png").ravel() for n in names])
    return truth[truth != 255], predicted[truth != 255]


def overlap(
    truth: NDArray[np.uint8], predicted: NDArray[np.uint8], members: list[int]
) -> tuple[float, float]:
    """IoU and Dice of the union of `members`."""
    a, b = np.isin(truth, members), np.isin(predicted, members)
    both = (a & b).sum()
    return both / (a | b).sum(), 2 * both / (a.sum() + b.sum())


def test_scores_json_holds_the_confusion_of_every_kind(small: Small) -> None:
    document = json.loads(run(small).read_text())
    assert (document["dataset"], document["split"], document["images"]) == ("acdc", "val", 4)
    assert document["classes"] == list(CLASSES)
    assert document["unions"] == {"heart": [1, 2, 3]}
    assert list(document["kinds"]) == [*KINDS, "seg_ms_crf"]
    for kind, entry in document["kinds"].items():
        folder = small.crf if kind == "seg_ms_crf" else small.predictions / kind
        truth, predicted = pixels(small, folder, "")
        expected = [[int(((truth == i) & (predicted == j)).sum()) for j in range(4)] for i in range(4)]
        assert entry["confusion"] == expected
        for volume, (name, members) in product(("p1", "p2"), GROUPS.items()):
            truth, predicted = pixels(small, folder, volume)
            a, b = np.isin(truth, members), np.isin(predicted, members)
            assert entry["volumes"][volume][name] == [
                *((a & b).sum(), (b & ~a).sum()),
                *((a & ~b).sum(), (~a & ~b).sum()),
            ]


def test_table_reports_classes_unions_and_volumes(small: Small, tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    table(run(small), out)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    constant = {f"all_{name}": k for k, name in enumerate(("background", *CLASSES))}
    assert [row["prediction"] for row in rows] == [*KINDS, "seg_ms_crf", *constant]
    assert {row["labels"] for row in rows} == {"slices"}
    assert list(rows[0]) == [
        *("prediction", "images", "labels", "mIoU", "pixel_accuracy", "mean_accuracy"),
        *("precision", "recall", "confusion_ratio"),
        *("image mIoU", "IoU of small objects", "IoU of medium objects", "IoU of large objects"),
        *("IoU background", "IoU RV", "IoU Myo", "IoU LV", "IoU heart"),
        *("Dice RV", "Dice Myo", "Dice LV", "Dice heart"),
        *("volume Dice RV", "volume Dice Myo", "volume Dice LV", "volume Dice heart"),
        *(
            column
            for name in GROUPS
            for column in (f"volume HD95 {name} (mm)", f"volume ASD {name} (mm)", f"volumes that miss {name}")
        ),
    ]
    for row in rows:
        kind = row["prediction"]
        folder = small.crf if kind == "seg_ms_crf" else small.predictions / kind
        if kind in constant:
            folder = tmp_path / kind
            folder.mkdir()
            for name in small.names:
                shape = read_mask(small.data / f"{name}.png").shape
                write_label(folder / f"{name}.png", np.full(shape, constant[kind], np.uint8))
        truth, predicted = pixels(small, folder, "")
        assert float(row["pixel_accuracy"]) == pytest.approx(100 * (truth == predicted).mean(), abs=6e-4)
        ious = [overlap(truth, predicted, [k])[0] for k in range(4)]
        assert float(row["mIoU"]) == pytest.approx(100 * np.mean(ious), abs=6e-4)
        for name, members in GROUPS.items():
            iou, dice = overlap(truth, predicted, members)
            assert float(row[f"IoU {name}"]) == pytest.approx(100 * iou, abs=6e-4)
            assert float(row[f"Dice {name}"]) == pytest.approx(100 * dice, abs=6e-4)
            each = [overlap(*pixels(small, folder, volume), members)[1] for volume in ("p1", "p2")]
            assert float(row[f"volume Dice {name}"]) == pytest.approx(100 * np.mean(each), abs=6e-4)


def test_single_images_and_objects_by_size(small: Small, tmp_path: Path) -> None:
    """Each class of an image is an object: in p2_s1 one of 3 pixels and one of 5%, else of 10% and more."""
    mask = read_mask(small.data / "p2_s1.png").copy()
    mask[2:] = 2
    mask[2, :3], mask[3:5, :20] = 1, 3
    write_label(small.data / "p2_s1.png", mask)
    table(run(small), tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["prediction"] == "seg")
    of_images, of_objects = [], {"small": [], "medium": [], "large": []}  # type: ignore[var-annotated]
    for name in small.names:
        truth, predicted = pixels(small, small.predictions / "seg", name)
        held = [k for k in range(4) if (truth == k).any()]
        ious = {k: overlap(truth, predicted, [k])[0] for k in held}
        of_images.append(np.mean(list(ious.values())))
        for k in set(held) - {0}:
            share = (truth == k).mean()
            of_objects["small" if share < 0.01 else "medium" if share < 0.1 else "large"].append(ious[k])
    assert [len(values) for values in of_objects.values()] == [1, 1, 9]
    assert float(row["image mIoU"]) == pytest.approx(100 * np.mean(of_images), abs=6e-4)
    for size, values in of_objects.items():
        assert float(row[f"IoU of {size} objects"]) == pytest.approx(100 * np.mean(values), abs=6e-4)


def test_kinds_that_need_labels_may_be_missing_the_others_not(small: Small) -> None:
    for kind in KINDS[:4]:
        (small.predictions / kind).rename(small.predictions / f"no_{kind}")
    kinds = json.loads(run(small).read_text())["kinds"]
    assert list(kinds) == ["seg", "seg_ms", "seg_ms_filtered", "seg_ms_crf"]
    (small.predictions / "seg_ms" / "p2_s0.png").unlink()
    with pytest.raises(UserError, match=r"seg_ms/p2_s0\.png: the prediction is missing"):
        run(small)


def test_a_prediction_of_another_size_is_named(small: Small) -> None:
    write_label(small.crf / "p2_s1.png", np.zeros((5, 6), dtype=np.uint8))
    with pytest.raises(UserError, match=r"crf/p2_s1\.png: the prediction is 5 x 6, its mask 27 x 32"):
        run(small)


def test_a_split_without_masks_is_refused(small: Small) -> None:
    with pytest.raises(UserError, match=r"split test has no ground truth .* evaluation server"):
        run(small, "test")


@pytest.fixture
def golden_scores(tmp_path: Path) -> Path:
    """A scores.json of two classes without volumes; class b is never hit, class c is absent."""
    document = {
        "dataset": "shapes",
        "split": "val",
        "classes": ["a", "b, c"],
        "unions": {},
        "images": 2,
        "kinds": {
            "seg_ms_crf": {"confusion": [[8, 2, 0], [0, 10, 0], [0, 0, 0]]},
            "cam": {"confusion": [[6, 2, 2], [0, 10, 0], [3, 2, 0]]},
        },
    }
    path = tmp_path / "scores.json"
    write_json(path, document)
    return path


def test_table_bytes_are_fixed(golden_scores: Path, tmp_path: Path) -> None:
    table(golden_scores, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes().decode() == (
        "prediction,images,mIoU,pixel_accuracy,mean_accuracy,precision,recall,confusion_ratio,"
        'IoU background,IoU a,"IoU b, c"\n'
        "cam,2,39.194,64.000,53.333,46.032,53.333,inf,46.154,71.429,0.000\n"
        "seg_ms_crf,2,81.667,90.000,90.000,91.667,90.000,0.100,80.000,83.333,\n"
    )


def test_show_turns_the_table_for_the_terminal(golden_scores: Path, tmp_path: Path) -> None:
    table(golden_scores, tmp_path / "table.csv")
    console = Console(file=io.StringIO(), width=100)
    console.print(show(tmp_path / "table.csv"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    line = next(line for line in text.splitlines() if "mIoU" in line)
    assert line.split() == ["mIoU", "39.194", "81.667"]
    with pytest.raises(UserError, match=r"none\.csv"):
        show(tmp_path / "none.csv")


def test_summary_and_figure_for_the_run(golden_scores: Path) -> None:
    values = summary(golden_scores)
    assert values["seg_ms_crf/mIoU"] == pytest.approx((0.8 + 10 / 12) / 2)
    assert math.isinf(values["cam/confusion_ratio"])
    figure = confusion_figure(golden_scores)
    axes = figure.axes[0]
    assert axes.get_title() == "seg_ms_crf, shapes val"
    np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), [[80, 20, 0], [0, 100, 0], [0, 0, 0]])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["background", "a", "b, c"]


def test_each_images_hits_and_misses_add_up_to_the_confusion(small: Small) -> None:
    document = read_json(run(small))
    with (small.data.parent / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(dict.fromkeys(row["name"] for row in rows)) == list(small.names)
    for kind, entry in document["kinds"].items():
        matrix = np.array(entry["confusion"])
        for k, name in enumerate(["background", "RV", "Myo", "LV"]):
            own = [row for row in rows if (row["kind"], row["class"]) == (kind, name)]
            found = [sum(int(row[column]) for row in own) for column in ("tp", "fp", "fn")]
            true = matrix[k, k]
            assert found == [true, matrix[:, k].sum() - true, matrix[k].sum() - true]
    truth, predicted = pixels(small, small.crf, "p2_s0")
    (row,) = [r for r in rows if (r["name"], r["kind"], r["class"]) == ("p2_s0", "seg_ms_crf", "LV")]
    assert row["tp"] == "0"  # p2_s0 holds no LV
    assert int(row["fp"]) == ((predicted == 3) & (truth != 3)).sum()
