"""Names of files, classes and folders that a shell, Snakemake, a formula or a table would read as its own."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from project import Project

from unia.data.samples import load_split, read_image, write_label
from unia.errors import UserError
from unia.recipe import SECTIONS, ImagesData
from unia.steps.download import download
from unia.steps.prepare import prepare

FOLDER = 'own; $(touch pwned) {dataset} "it\'s" ü'
CLASSES = ("$^{$ rose", "tulip's $(touch pwned) {run} %s", "no")
COLOURS = ((200, 30, 60), (240, 200, 40), (40, 60, 220))
NAMES = [
    "it's; $(touch pwned) ü.jpg",
    "`touch pwned`.jpg",
    "-rf.jpg",
    "a b\t'\"|&<>*?[]{}#~!.jpg",
    "{wildcards.dataset}.jpg",
    "%s %d.jpg",
    "$_{$.jpg",
    "日本語.jpg",
    "two\nlines.jpg",
]


def own(folder: Path) -> ImagesData:
    """Images in `folder`, each in train and, with a mask, in val: a square of its class on green."""
    folder.mkdir(parents=True)
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "split", "labels", "mask"))
        for index, name in enumerate(NAMES):
            k = index % len(CLASSES)
            mask = np.zeros((40, 48), np.uint8)
            mask[10:30, 10 + index : 30 + index] = k + 1
            pixels = np.where(mask[..., None] > 0, COLOURS[k], (60, 120, 60))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
            table.writerow((name, "train", CLASSES[k], ""))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"v{name}")
            write_label(folder / f"{name}.png", mask)
            table.writerow((f"v{name}", "val", CLASSES[k], f"{name}.png"))
    return ImagesData(kind="images", source=folder.name, classes=CLASSES, licence="CC: {BY}")


def test_they_are_names_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = own(tmp_path / FOLDER)
    download("own", data, Path("raw.json"))
    prepare("own", data, Path("raw.json"), Path("out"))
    found = load_split(Path("out"), "train").samples
    assert [sample.image.name for sample in found] == NAMES
    assert all(read_image(sample.image).shape == (40, 48, 3) for sample in found)
    assert not Path("pwned").exists()
    (tmp_path / FOLDER / NAMES[-1]).unlink()
    with pytest.raises(UserError, match=r"two lines\.jpg: is missing"):
        prepare("own", data, Path("raw.json"), Path("again"))


@pytest.mark.slow
@pytest.mark.faults
def test_through_every_rule_to_the_report(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    about = own(project.folder / FOLDER).model_dump(mode="json")
    sections: dict[str, object] = {"data": about, **{name: {} for name in SECTIONS}}
    project.set(f"datasets.own={json.dumps(sections)}", "run=[own]")
    said = project.ok("snakemake", "--cores", "all", "reported")
    assert "warning: MLflow" not in said
    assert "Traceback" not in said
    with (project.folder / "results/own_val.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert "seg_ms_crf" in [row["prediction"] for row in rows]
    assert {f"IoU {name}" for name in CLASSES} <= rows[0].keys()
    stems = sorted(f"v{name.removesuffix('.jpg')}" for name in NAMES)
    for folder in ("predictions/seg_ms", "crf"):
        made = (project.folder / "results/own/val" / folder).iterdir()
        assert sorted(path.name.removesuffix(".png") for path in made if path.suffix == ".png") == stems
    with (project.folder / "results/own/val/images.csv").open(encoding="utf-8", newline="") as file:
        assert {row["name"] for row in csv.DictReader(file)} >= set(stems)
    assert project.rules("reported") == []
    assert not list(tmp_path.rglob("pwned"))
    project.ok("unia", "trace", "results/own_val.csv")
