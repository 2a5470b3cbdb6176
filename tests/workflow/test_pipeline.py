"""The whole pipeline, through the commands that its users type, at its smallest size."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from project import SHARED, TABLE, TINY, Project

KINDS = [
    *("cam", "cam_best", "cam_aux", "affinity", "mutual"),
    *("seg", "seg_ms", "seg_ms_filtered", "seg_ms_crf"),
]
SIGNALS = [f"wrong pixels, by {signal}" for signal in ("uncertainty", "entropy", "foreground")]
OR = "# or, for all of the steps:"  # before the line of --rerun that Snakemake runs

pytest_plugins = "computed"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shapes(by_snakemake: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return by_snakemake.copy(tmp_path_factory.mktemp("pipeline"))


def test_the_table_has_a_row_for_each_kind_of_prediction(shapes: Project) -> None:
    rows = read(shapes.folder / TABLE)
    assert [row["prediction"] for row in rows] == [*KINDS, *SIGNALS]
    assert all(row["images"] == "6" for row in rows)
    assert all(0 <= float(row["mIoU"]) <= 100 for row in rows[: len(KINDS)])
    assert all(0 <= float(row["AUROC low"]) <= float(row["AUROC high"]) <= 100 for row in rows[len(KINDS) :])
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
    steps = ["crf val", "download", "figures val", "infer val", "prepare", "score val", "table", "train"]
    assert names == sorted([*steps, "shapes small"])
    training = next(run for run in runs if run.info.run_name == "train")
    assert training.data.params["train.iterations"] == "6"
    assert {"lr", "loss", "classification", "segmentation", "energy"} <= set(training.data.metrics)
    scores = next(run for run in runs if run.info.run_name == "score val")
    assert "seg_ms_crf/mIoU" in scores.data.metrics
    for output in ("data/raw/shapes.json", "data/shapes", "results/shapes/train", TABLE):
        assert (shapes.folder / f"{output}.run.json").exists()


def test_every_file_behind_the_table_is_traced_without_mlflow_too(shapes: Project) -> None:
    store = shapes.folder / "mlflow.db"
    away = store.rename(shapes.folder / "away.db")
    assert "train: 20" in shapes.ok("unia", "trace", TABLE, "--row", "seg_ms_crf")
    assert " files: all as it was" in shapes.ok("unia", "trace", TABLE, "--verify")
    for path in (
        "data/raw/shapes/VOCdevkit/VOC2012/JPEGImages/val_000001.jpg",
        "data/raw/shapes/VOCdevkit/VOC2012/SegmentationClassAug/train_000003.png",
        "results/shapes/train/checkpoint.safetensors",
        "results/shapes/val/predictions/logits/val_000002.npz",
        TABLE,
        "results/shapes/val/predictions.run.json",
    ):
        whole = (shapes.folder / path).read_bytes()
        middle = len(whole) // 2
        (shapes.folder / path).write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        said = shapes.unia("trace", TABLE, "--verify", code=3)
        named = [line for line in said.splitlines() if line.startswith("changed ")]
        assert [line.split()[1] for line in named] == [f"{path}:"], said
        (shapes.folder / path).write_bytes(whole)
    away.rename(store)


def test_the_commands_of_a_trace_give_the_same_bytes(shapes: Project, tmp_path: Path) -> None:
    lines = shapes.ok("unia", "trace", TABLE, "--rerun").splitlines()
    assert lines[0].startswith("git worktree add --detach ../unia-")
    steps = "\n".join(lines[lines.index('export PATH="$PWD/.venv/bin:$PATH"') + 1 : lines.index(OR)])
    other = Project(tmp_path)  # stands for the working tree of the commit
    other.ok("bash", "-ec", steps)
    assert (tmp_path / TABLE).read_bytes() == (shapes.folder / TABLE).read_bytes()


def test_an_exported_and_imported_checkpoint_gives_the_same_table(shapes: Project) -> None:
    trained = "results/shapes/train/checkpoint.safetensors"
    for form in ("voc", "coco"):
        exported = f"exported_{form}.pth"
        shapes.unia("checkpoint", "export", trained, "--form", form, "--out", exported)
        out = f"results/again_{form}"
        shapes.unia("evaluate", exported, "--dataset", "shapes", "--split", "val", "--out", out)
        assert (shapes.folder / out / "table.csv").read_bytes() == (shapes.folder / TABLE).read_bytes()


def test_a_failing_step_says_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path)
    done = project.run("unia", "train", "shapes", "--data", "data/shapes", "--out", "results/shapes/train")
    assert done.returncode == 1
    assert "unia: data/shapes/dataset.json: no such file" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (tmp_path / "results" / "shapes").exists()


def some_patients(folder: Path) -> Path:
    """Two patients of each group of the real ACDC."""
    source = real("acdc/ACDC") / "database" / "training"
    (folder / "training").mkdir(parents=True)
    for patient in sorted(source.iterdir()):
        if int(patient.name.removeprefix("patient")) % 20 in (1, 2):
            (folder / "training" / patient.name).symlink_to(patient)
    return folder


def some_photos(folder: Path) -> Path:
    """The first twelve photos of each split of the real COCO, and what is in them."""
    source = real("coco/tiny_coco")
    (folder / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        (folder / split).symlink_to(source / split)
        name = f"annotations/instances_{split}.json"
        document = json.loads((source / name).read_text())
        document["images"] = document["images"][:12]
        kept = {image["id"] for image in document["images"]}
        document["annotations"] = [one for one in document["annotations"] if one["image_id"] in kept]
        (folder / name).write_text(json.dumps(document))
    return folder


def real(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"needs real data in {SHARED / name}")
    return SHARED / name


@pytest.mark.parametrize(
    ("dataset", "some", "columns"),
    [
        (
            "acdc",
            some_patients,
            ["IoU RV", "IoU Myo", "IoU LV", "IoU heart", "Dice heart", "volume Dice LV"],
        ),
        ("coco", some_photos, ["IoU person", "IoU toothbrush"]),
    ],
)
def test_real_data(dataset: str, some: Callable[[Path], Path], columns: list[str], tmp_path: Path) -> None:
    source = some(tmp_path / "source")
    fewer = (
        "recipe.crf.iterations=1",
        "datasets.acdc.data.tile.stride=64",
        "datasets.acdc.data.val_fraction=0.5",
    )
    settings = (f"datasets.{dataset}.data.source={source}", *fewer)
    project = Project(tmp_path / "project", (*TINY, *settings))
    for step in project.steps(f"results/{dataset}_val.csv"):
        project.unia(*step)
    rows = read(project.folder / f"results/{dataset}_val.csv")
    constant = [f"all_{name}" for name in ("background", "RV", "Myo", "LV") if dataset == "acdc"]
    assert [row["prediction"] for row in rows] == [*KINDS, *constant, *SIGNALS]
    assert set(columns) <= set(rows[0])


def read(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
