"""The ablation's table against sums by hand and a bootstrap in plain loops."""

import csv
from pathlib import Path

import numpy as np
import pytest

from unia.errors import UserError
from unia.scoring.bootstrap import SEED
from unia.steps.ablation import DRAWS, Counts, ablation, compare

IMAGES, CLASSES = 12, ("background", "cat", "dog")


def counts(rng: np.random.Generator, good: float) -> Counts:
    """Random TP, FP and FN; dogs occur in a third of the images."""
    found = rng.integers(1, 50, (IMAGES, 3, 3))
    found[:, :, 0] = found[:, :, 0] * good
    found[rng.random(IMAGES) > 1 / 3, 2] = 0
    found[0, 2] = (5, 1, 2)
    return found


def write(folder: Path, found: Counts) -> Path:
    folder.mkdir(parents=True)
    with (folder / "images.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("name", "kind", "class", "tp", "fp", "fn"))
        for i, image in enumerate(found):
            for name, values in zip(CLASSES, image, strict=True):
                if values.any():
                    table.writerow((f"i{i:02}", "seg_ms_crf", name, *values))
    return folder


def miou(found: Counts, chosen: list[int]) -> float:
    """By hand: sums over the chosen images, repeated as often as chosen."""
    ious = []
    for k in range(3):
        true, false, missed = (sum(int(found[i, k, j]) for i in chosen) for j in range(3))
        if true + missed > 0:
            ious.append(true / (true + false + missed))
    return sum(ious) / len(ious)


def test_means_differences_and_interval(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    full = [counts(rng, 3), counts(rng, 3)]
    less = [counts(rng, 2), counts(rng, 2)]
    folders = {
        name: [write(tmp_path / name / str(seed), one) for seed, one in enumerate(found)]
        for name, found in (("full", full), ("less", less))
    }
    ablation(folders, {"full": "", "less": "losses.energy.weight=0"}, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as file:
        first, second = csv.DictReader(file)
    every = list(range(IMAGES))
    of_full, of_less = ([miou(one, every) for one in found] for found in (full, less))
    assert (first["variant"], first["difference"], first["low 95%"]) == ("full", "", "")
    assert float(first["mIoU"]) == pytest.approx(100 * np.mean(of_full), abs=1e-3)
    assert float(second["std"]) == pytest.approx(100 * np.std(of_less, ddof=1), abs=1e-3)
    assert float(second["difference"]) == pytest.approx(100 * (np.mean(of_less) - np.mean(of_full)), abs=1e-3)
    assert (second["changes"], second["seeds"]) == ("losses.energy.weight=0", "2")

    generator = np.random.default_rng(SEED)
    drawn = []
    for _ in range(DRAWS):
        times = generator.multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES))
        chosen = [i for i in every for _ in range(times[i])]
        pairs = zip(less, full, strict=True)
        drawn.append(np.mean([miou(one, chosen) - miou(other, chosen) for one, other in pairs]))
    low, high = np.percentile(drawn, (2.5, 97.5))
    assert float(second["low 95%"]) == pytest.approx(100 * low, abs=1e-3)
    assert float(second["high 95%"]) == pytest.approx(100 * high, abs=1e-3)


def test_the_same_runs_do_not_differ() -> None:
    found = [counts(np.random.default_rng(1), 3)]
    result = compare(found, found)
    assert result.difference() == (0, 0, 0)
    assert np.isnan(result.scores()[1])


def test_runs_scored_on_other_images_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    folders = {
        "full": [write(tmp_path / "full", counts(rng, 3))],
        "less": [write(tmp_path / "less", counts(rng, 3)[:-1])],
    }
    with pytest.raises(UserError, match="less: was not scored on the same images"):
        ablation(folders, {"full": "", "less": ""}, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_the_ratio_to_full_supervision_is_of_the_means_and_of_the_segmentation_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    found = {name: [counts(rng, good), counts(rng, good)] for name, good in (("full", 2), ("masks", 3))}
    folders: dict[str, list[Path]] = {name: [] for name in found}
    for name, of_seeds in found.items():
        for seed, one in enumerate(of_seeds):
            folder = write(tmp_path / name / str(seed), one)
            seg = (folder / "images.csv").read_text()
            (folder / "images.csv").write_text(seg + seg.partition("\n")[2].replace("seg_ms_crf", "cam"))
            folders[name].append(folder)
    ablation(folders, {"full": "", "masks": ""}, tmp_path / "out.csv", twin="masks")
    with (tmp_path / "out.csv").open() as file:
        rows = {
            (row["variant"], row["prediction"]): row["of full supervision"] for row in csv.DictReader(file)
        }
    ours, twins = (np.mean([miou(one, list(range(IMAGES))) for one in found[name]]) for name in found)
    assert float(rows["full", "seg_ms_crf"]) == pytest.approx(100 * ours / twins, abs=1e-3)
    assert rows["masks", "seg_ms_crf"] == "100.000"
    assert rows["full", "cam"] == rows["masks", "cam"] == ""
