"""The whole pipeline, through the commands that its users type, at its smallest size."""

import csv
from pathlib import Path

import pytest
from project import SHARED, TABLE, TINY, Project

KINDS = ["cam", "cam_aux", "affinity", "mutual", "seg", "seg_ms", "seg_ms_crf"]

pytest_plugins = "computed"
pytestmark = pytest.mark.slow


@pytest.fixture
def shapes(by_snakemake: Project) -> Project:
    return by_snakemake


def test_the_table_has_a_row_for_each_kind_of_prediction(shapes: Project) -> None:
    rows = read(shapes.folder / TABLE)
    assert [row["prediction"] for row in rows] == KINDS
    assert all(row["images"] == "6" for row in rows)
    assert all(0 <= float(row["mIoU"]) <= 100 for row in rows)
    assert "IoU star" in rows[0]
    assert "seg_ms_crf" in shapes.ok("unia", "show", TABLE)


def test_nothing_runs_twice_and_a_change_of_crf_runs_what_follows_it(shapes: Project) -> None:
    assert shapes.rules(TABLE) == []
    assert shapes.rules(TABLE, "--config", "recipe={crf: {iterations: 3}}") == ["crf", "score", "table"]
    assert shapes.rules(TABLE, "--config", "small={train: {iterations: 7}}")[:2] == ["train", "infer"]


def test_every_step_left_a_run_and_a_record(shapes: Project) -> None:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{shapes.folder}/mlflow.db")
    runs = mlflow.search_runs(experiment_names=["shapes"], output_format="list")
    names = sorted(run.info.run_name for run in runs)
    steps = ["crf val", "download", "infer val", "prepare", "score val", "table", "train"]
    assert names == sorted([*steps, "shapes small"])
    training = next(run for run in runs if run.info.run_name == "train")
    assert training.data.params["train.iterations"] == "6"
    assert {"lr", "loss", "classification", "segmentation", "energy"} <= set(training.data.metrics)
    scores = next(run for run in runs if run.info.run_name == "score val")
    assert "seg_ms_crf/mIoU" in scores.data.metrics
    for output in ("data/raw/shapes.json", "data/shapes", "results/shapes/train", TABLE):
        assert (shapes.folder / f"{output}.run.json").exists()


def test_an_exported_and_imported_checkpoint_gives_the_same_table(shapes: Project) -> None:
    trained, exported = "results/shapes/train/checkpoint.safetensors", "exported.pth"
    for form in ("voc", "coco"):
        shapes.ok("unia", "checkpoint", "export", trained, "--form", form, "--out", exported)
        out = f"results/again_{form}"
        shapes.ok("unia", "evaluate", exported, "--dataset", "shapes", "--split", "val", "--out", out)
        assert (shapes.folder / out / "table.csv").read_bytes() == (shapes.folder / TABLE).read_bytes()


def test_a_failing_step_says_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path)
    done = project.run("unia", "train", "shapes", "--data", "data/shapes", "--out", "results/shapes/train")
    assert done.returncode == 1
    assert "unia: data/shapes/dataset.json: no such file" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (tmp_path / "results" / "shapes").exists()


@pytest.mark.parametrize(
    ("dataset", "source", "columns"),
    [
        ("acdc", "acdc/ACDC", ["IoU RV", "IoU Myo", "IoU LV", "IoU heart", "Dice heart", "volume Dice LV"]),
        ("coco", "coco/tiny_coco", ["IoU person", "IoU toothbrush"]),
    ],
)
def test_real_data(dataset: str, source: str, columns: list[str], tmp_path: Path) -> None:
    if not (SHARED / source).exists():
        pytest.skip(f"needs real data in {SHARED / source}")
    fewer = ("recipe.crf.iterations=1", "datasets.acdc.data.tile.stride=64")
    settings = (f"datasets.{dataset}.data.source={SHARED / source}", *fewer)
    project = Project(tmp_path, (*TINY, *settings))
    project.ok("snakemake", "--cores", "all", f"results/{dataset}_val.csv")
    rows = read(tmp_path / f"results/{dataset}_val.csv")
    constant = [f"all_{name}" for name in ("background", "RV", "Myo", "LV") if dataset == "acdc"]
    assert [row["prediction"] for row in rows] == [*KINDS, *constant]
    assert set(columns) <= set(rows[0])


def read(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
