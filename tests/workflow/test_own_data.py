"""README's chapter on own data, followed to the letter on drawn flowers."""

import csv
import io
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from project import ROOT, Project

from unia.data.samples import write_label
from unia.tracking import record

pytestmark = pytest.mark.slow
CHAPTER = (ROOT / "README.md").read_text(encoding="utf-8").split("## Your own images")[1].split("\n## ")[0]
COLOURS = {"rose": (200, 30, 60), "tulip": (240, 200, 40)}


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", CHAPTER, re.DOTALL)
    assert found is not None
    return found[1]


def draw(folder: Path, row: dict[str, str]) -> None:
    """The image, and the mask where the row names one: a disc for each label."""
    image = np.full((48, 64, 3), (60, 120, 60), np.uint8)
    mask = np.zeros((48, 64), np.uint8)
    y, x = np.mgrid[:48, :64]
    for place, name in enumerate(filter(None, row["labels"].split(";"))):
        disc = (y - 24) ** 2 + (x - 20 - 24 * place) ** 2 < 100
        image[disc] = COLOURS[name]
        mask[disc] = list(COLOURS).index(name) + 1
    (folder / row["image"]).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / row["image"])
    if row["mask"]:
        (folder / row["mask"]).parent.mkdir(parents=True, exist_ok=True)
        write_label(folder / row["mask"], mask)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    flowers = tmp_path / "flowers"
    for row in csv.DictReader(io.StringIO(block("csv"))):
        draw(flowers, row)
    (flowers / "labels.csv").write_text(block("csv"))
    params = tmp_path / "params.yaml"
    params.write_text(params.read_text().replace("\ndatasets:\n", "\ndatasets:\n" + block("yaml"), 1))
    return project


def test_the_chapter_as_written(project: Project) -> None:
    lines = re.findall(r"^\$ (.+)$", CHAPTER, re.MULTILINE)
    for line in lines:
        project.ok(*shlex.split(line))
    with (project.folder / "results/flowers_val.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert "seg_ms_crf" in [row["prediction"] for row in rows]
    assert {"IoU rose", "IoU tulip"} <= set(rows[0])


def test_files_as_people_have_them_go_through_every_step(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spreadsheet's semicolons, one name with two endings, a val image without a mask."""
    monkeypatch.setitem(sys.modules, "mlflow", None)  # takes seconds in each step
    flowers = project.folder / "flowers"
    Image.open(flowers / "images/0005.jpg").rotate(180).save(flowers / "images/0005.png")
    Image.open(flowers / "images/0006.jpg").rotate(90).save(flowers / "images/0007.jpg")
    rows = [*csv.reader(io.StringIO(block("csv"))), ["images/0005.png", "val", "rose", ""]]
    rows.append(["images/0007.jpg", "val", "tulip", ""])
    with (flowers / "labels.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    said = ""
    for step in project.steps("results/flowers/val/figures") + project.steps("results/flowers_val.csv")[-1:]:
        said += project.unia(*step)
    assert "val: 2 of 4 images have no mask and will not be scored: images_0005_2, images_0007" in said
    assert "score val: 2 of 4 images have no mask and are not scored" in said
    with (project.folder / "results/flowers_val.csv").open() as file:
        assert {row["images"] for row in csv.DictReader(file)} == {"2"}
    drawn = {path.stem for path in (project.folder / "results/flowers/val/crf").glob("*.png")}
    assert drawn == {"images_0005", "images_0005_2", "images_0006", "images_0007"}
    assert (project.folder / "results/flowers/val/figures/worst.png").is_file()


@pytest.mark.parametrize("committed", ["params.yaml", "nothing"])
def test_a_trace_leads_to_images_that_are_not_in_git(
    committed: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commands, run in a worktree as they say, prepare the same images."""
    if committed == "params.yaml":
        project.ok("git", "commit", "--quiet", "--message", "flowers", "params.yaml")
    monkeypatch.setattr(record, "ROOT", project.folder)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    project.unia("download", "flowers", "--out", "data/raw/flowers.json")
    project.unia("prepare", "flowers", "--raw", "data/raw/flowers.json", "--out", "data/flowers")
    said = project.unia("trace", "data/flowers", "--rerun")
    worktree, there = said.split("\ncd ")
    project.ok("sh", "-c", worktree)
    other = Project.there((project.folder / there.splitlines()[0]).resolve())
    other.ok("sh", "-c", there.split("# or, for all of the steps:\n")[1].replace("--cores all", "--dry-run"))
    for line in there.splitlines():
        if line.startswith("unia "):
            other.unia(*shlex.split(line)[1:])
    folders = (project.folder, other.folder)
    for split in ("train", "val"):
        rows, again = (table(folder / f"data/flowers/{split}.csv") for folder in folders)
        assert [row["image_sha256"] for row in again] == [row["image_sha256"] for row in rows]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def prepare(project: Project, table: str) -> str:
    """What `unia prepare` says of a table of labels; it must refuse it."""
    (project.folder / "flowers/labels.csv").write_text(table)
    project.unia("download", "flowers", "--out", "raw.json")
    said = project.unia("prepare", "flowers", "--raw", "raw.json", "--out", "out", code=1)
    assert not (project.folder / "out").exists()
    return said


def test_every_wrong_row_is_named(project: Project) -> None:
    said = prepare(
        project,
        "image,split,labels,mask\n"
        "images/0001.jpg,train,rose,\n"
        "images/0001.jpg,train,rose,\n"
        "images/0002.jpg,training,rose,\n"
        "images/0003.jpg,train,lily,\n"
        "../secret.jpg,train,rose,\n"
        "images/none.jpg,val,rose,\n",
    )
    assert "labels.csv:4: split must be one of train, val, test (it is 'training')" in said
    assert "labels.csv:5: 'lily' is none of data.classes: rose, tulip" in said
    assert "labels.csv:6: '../secret.jpg' must be a path below flowers" in said
    assert "images_0001 is listed more than once" in said
    assert "none.jpg: is missing" in said


def test_a_table_without_its_columns(project: Project) -> None:
    assert "labels.csv: lacks the column split; it needs image, split, labels" in prepare(
        project, "image,labels\nimages/0001.jpg,rose\n"
    )


def test_a_folder_without_a_table(project: Project) -> None:
    (project.folder / "flowers/labels.csv").unlink()
    said = project.unia("download", "flowers", "--out", "raw.json", code=1)
    assert "datasets.flowers.data.source: flowers holds no labels.csv" in said
