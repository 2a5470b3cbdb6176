"""What a dataset is made of is an input: Snakemake, DVC and `unia sync` notice when it changes."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from flowers import plant
from PIL import Image
from project import Project

FOLDER = "data/flowers"
STATE = "data/raw/flowers.source.json"
DOWNLOAD = "download@flowers"
ALL = ("download", "prepare", "train", "infer", "crf", "score", "table")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    plant(project)
    return project


@pytest.mark.slow
def test_a_corrected_label_is_noticed_by_both_tools_and_no_sync_blesses_old_results(project: Project) -> None:
    table = project.folder / "flowers/labels.csv"
    project.ok("snakemake", "--cores", "1", FOLDER)
    first = relabel(table, "1.png,train,tulip", "1.png,train,rose")
    assert project.rules(FOLDER) == ["download", "prepare"]
    done = project.run("unia", "sync", "--to", "dvc")
    assert done.returncode == 1
    assert "Snakemake would still run download, prepare; run `snakemake` first" in done.stdout
    relabel(table, "1.png,train,rose", "1.png,train,tulip", first)
    project.ok("unia", "sync", "--to", "dvc")  # all is as it was

    assert project.stages(DOWNLOAD) == []
    relabel(table, "1.png,train,tulip", "1.png,train,rose")
    assert project.stages(DOWNLOAD) == [DOWNLOAD]
    relabel(table, "1.png,train,rose", "1.png,train,tulip")
    done = project.run("unia", "sync", "--to", "snakemake")
    assert done.returncode == 1
    assert "DVC would still run download@flowers" in done.stdout


@pytest.mark.slow
def test_a_fresh_project_plans_several_datasets_and_a_file_of_weights(project: Project) -> None:
    """What they hold is written down while Snakemake builds its graph, after it has listed the folders."""
    weights = project.folder / "vit.safetensors"
    weights.write_bytes(b"not read yet")
    project.set("small.model.weights=vit.safetensors")
    tables = [f"results/{dataset}_val.csv" for dataset in ("shapes", "flowers")]
    rules = project.rules(*tables)
    assert {rule: rules.count(rule) for rule in rules} == dict.fromkeys(ALL, 2)
    (project.folder / "data/raw/shapes.source.json").rename(project.folder / "away.json")
    assert sorted(project.rules(*tables)) == sorted(rules)


def relabel(table: Path, old: str, new: str, time: int | None = None) -> int:
    """Change labels.csv, to a file of as many bytes or not; returns its old time, in nanoseconds."""
    before = table.stat().st_mtime_ns
    table.write_text(table.read_text().replace(old, new))
    if time is not None:
        os.utime(table, ns=(time, time))
    return before


def look(project: Project, code: int = 0) -> str:
    """What `unia source` wrote, or said where it fails."""
    said = project.unia("source", "flowers", "--out", STATE, code=code)
    return said if code else (project.folder / STATE).read_text()


CHANGES: dict[str, Callable[[Path], object]] = {
    "a label": lambda folder: relabel(folder / "labels.csv", "rose;tulip", "tulip;rose"),
    "an image replaced": lambda folder: Image.new("RGB", (16, 12), (1, 2, 3)).save(folder / "0.png"),
    "an image added": lambda folder: (folder / "0.png").with_name("9.png").write_bytes(b"9"),
    "an image removed": lambda folder: (folder / "0.png").unlink(),
    "an image renamed": lambda folder: (folder / "0.png").rename(folder / "9.png"),
    "an image behind a linked folder": lambda folder: (folder.parent / "store/0.png").write_bytes(b"another"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_a_source_changes_its_state(project: Project, change: str) -> None:
    folder = project.folder / "flowers"
    store = project.folder / "store"
    store.mkdir()
    (store / "0.png").write_bytes(b"one")
    (folder / "linked").symlink_to(store)
    (store / "back").symlink_to(folder)  # a loop
    before = look(project)
    assert look(project) == before
    CHANGES[change](folder)
    assert look(project) != before


def test_a_source_without_a_file_is_refused(project: Project) -> None:
    folder = project.folder / "flowers"
    for path in folder.iterdir():
        path.unlink()
    (folder / "empty").mkdir()
    (folder / "empty" / "loop").symlink_to(folder)
    message = "datasets.flowers.data.source: flowers holds no file"
    assert message in look(project, code=1)
    (folder / "empty" / "loop").unlink()
    (folder / "empty").rmdir()
    folder.rmdir()
    assert "flowers does not exist" in look(project, code=1)


def test_a_source_whose_disk_is_away_leaves_its_results_with_a_warning(project: Project) -> None:
    state = look(project)
    (project.folder / "flowers").rename(project.folder / "away")
    said = project.unia("source", "flowers", "--out", STATE)
    assert "warning: datasets.flowers.data.source: flowers does not exist" in said
    assert (project.folder / STATE).read_text() == state
    project.set("datasets.flowers.data.source=elsewhere")  # of that one nothing is known
    assert "elsewhere does not exist" in look(project, code=1)


@pytest.mark.slow
def test_another_file_of_weights_is_noticed(project: Project) -> None:
    (project.folder / "vit.pth").write_bytes(b"one")
    project.set("small.model.weights=vit.pth")
    state = ("source", "flowers", "--out", STATE, "--weights", "results/flowers/weights.json")
    project.unia(*state)
    first = (project.folder / "results/flowers/weights.json").read_text()
    trained = project.folder / "results/flowers/train"
    for path in (
        project.folder / "data/raw/flowers.json",
        trained / "checkpoint.safetensors",
        trained / "losses.csv",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (project.folder / FOLDER).mkdir()
    project.ok("snakemake", "--touch", "results/flowers/train/losses.csv")
    assert project.rules("results/flowers/train/losses.csv") == []
    (project.folder / "vit.pth").write_bytes(b"two")
    assert project.rules("results/flowers/train/losses.csv") == ["train"]
    (project.folder / "vit.pth").unlink()  # gone since: what was trained from it stays
    project.unia(*state)
    assert (project.folder / "results/flowers/weights.json").read_text() != first
    with (project.folder / "dvc.yaml").open() as file:
        stages = yaml.safe_load(file)["stages"]
    assert "results/${item.dataset}/weights.json" in stages["train"]["deps"]


@pytest.mark.slow
def test_a_missing_source_stops_snakemake_in_one_line_before_any_work(project: Project) -> None:
    (project.folder / "flowers").rename(project.folder / "away")
    done = project.run("snakemake", "--cores", "1", "--quiet", "all", "--", FOLDER)
    assert done.returncode == 1
    assert "unia: datasets.flowers.data.source: flowers does not exist" in done.stdout.splitlines()
    assert "Traceback" not in done.stdout
    (project.folder / "away").rename(project.folder / "flowers")
    assert project.rules(FOLDER) == ["download", "prepare"]  # and no lock is left
