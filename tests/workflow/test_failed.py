"""Older results stand, and a step fails or a file is gone: no old number is taken for a new one.

Each step, ended in each way, is in tests/faults/test_failed_over_old.py.
"""

import subprocess
import time
from pathlib import Path

import pytest
from project import TABLE, Project

from unia.files import remove
from unia.pipeline import behind
from unia.recipe import Recipe
from unia.tracking.receipt import read_receipt

pytest_plugins = "computed"

IMAGE = "data/raw/shapes/VOCdevkit/VOC2012/JPEGImages/val_000000.jpg"
MADE = {  # rule: what it makes for those after it
    "download": "data/raw/shapes.json",
    "prepare": "data/shapes",
    "train": "results/shapes/train/checkpoint.safetensors",
    "infer": "results/shapes/val/predictions",
    "crf": "results/shapes/val/crf",
    "score": "results/shapes/val/scores.json",
    "table": TABLE,
}


@pytest.mark.slow
def test_after_a_failed_step_the_same_command_makes_the_new_table(
    by_snakemake: Project, tmp_path: Path
) -> None:
    project = by_snakemake.copy(tmp_path)
    command = ("snakemake", "--cores", "1", "--config", "recipe={crf: {iterations: 5}}", "--", TABLE)
    image = (tmp_path / IMAGE).rename(tmp_path / "away.jpg")
    failed = project.run(*command)
    assert failed.returncode != 0
    assert f"unia: {IMAGE}: no such file" in failed.stdout
    image.rename(tmp_path / IMAGE)
    for settings in ("", "recipe.crf.iterations=5"):  # neither result stands here as a whole
        project.environment["UNIA_SET"] = settings
        assert project.rules(TABLE) == ["crf", "score", "table"]
    del project.environment["UNIA_SET"]
    assert "Snakemake would still run crf" in project.unia("sync", "--to", "dvc", code=1)

    project.ok(*command)
    receipt = read_receipt(tmp_path / "results/shapes/val/crf.run.json")
    assert receipt["params"]["crf"]["iterations"] == 5
    project.unia("trace", TABLE, "--verify")  # no file has changed, none is missing


@pytest.mark.slow
def test_what_is_gone_is_made_again_with_all_that_follows(by_snakemake: Project, tmp_path: Path) -> None:
    project, rules = by_snakemake.copy(tmp_path), list(MADE)
    for step, path in MADE.items():
        away = (tmp_path / path).rename(tmp_path / "away")
        assert project.rules(TABLE) == rules[rules.index(step) :]
        away.rename(tmp_path / path)
    assert project.rules(TABLE) == []
    remove(tmp_path / "results/shapes/train/losses.csv")  # no input of the table
    assert project.rules(TABLE) == []


@pytest.mark.slow
def test_a_change_is_noticed_without_snakemakes_records_and_whatever_a_users_profile_says(
    by_snakemake: Project, tmp_path: Path
) -> None:
    project = by_snakemake.copy(tmp_path / "project")
    profile = tmp_path / "profile"
    profile.mkdir()
    lines = ("rerun-triggers: mtime", "ignore-incomplete: true", "drop-metadata: true")
    (profile / "config.yaml").write_text("\n".join(lines))
    project.environment["SNAKEMAKE_PROFILE"] = str(profile)
    remove(project.folder / ".snakemake")
    assert project.rules(TABLE) == []
    project.set("recipe.crf.iterations=5")
    assert project.rules(TABLE) == ["crf", "score", "table"]


@pytest.mark.slow
def test_a_step_run_by_hand_with_other_settings_is_run_again(by_snakemake: Project, tmp_path: Path) -> None:
    project = by_snakemake.copy(tmp_path)
    val = "results/shapes/val"
    inputs = ("--data", "data/shapes", "--predictions", f"{val}/predictions")
    crf = ("crf", "shapes", "--split", "val", *inputs, "--out", f"{val}/crf")
    project.unia(*crf, "--set", "recipe.crf.iterations=5")
    assert project.rules(TABLE) == ["crf", "score", "table"]
    project.unia(*crf)
    assert project.rules(TABLE) == ["score", "table"]


@pytest.mark.slow
def test_a_step_run_by_hand_with_other_inputs_is_run_again(by_snakemake: Project, tmp_path: Path) -> None:
    """As also another copy of the project leaves them, of other data, that shares the folder of results."""
    project, val = by_snakemake.copy(tmp_path), "results/shapes/val"
    split, data, others = ("--split", "val"), ("--data", "data/shapes"), "elsewhere/checkpoint.safetensors"
    project.unia("train", "shapes", *data, "--out", "elsewhere", "--set", "recipe.train.seed=8")
    infer = ("infer", "shapes", *split, *data, "--checkpoint", others)
    project.unia(*infer, "--out", "elsewhere/predictions")
    crf = ("crf", "shapes", *split, *data, "--out", f"{val}/crf")
    project.unia(*crf, "--predictions", "elsewhere/predictions")
    assert project.rules(TABLE) == ["crf", "score", "table"]
    inputs = ("--predictions", f"{val}/predictions", "--crf", f"{val}/crf")
    outputs = ("--out", f"{val}/scores.json", "--images", f"{val}/images.csv")
    said = project.unia("score", "shapes", *split, *data, *inputs, *outputs, code=1)
    assert f"{val}/crf: was made of other predictions (elsewhere/predictions) than those in {val}" in said
    project.unia(*infer, "--out", f"{val}/predictions")
    assert project.rules(TABLE) == ["infer", "crf", "score", "table"]


@pytest.mark.slow
def test_an_edit_while_snakemake_runs_is_for_its_next_run(by_snakemake: Project, tmp_path: Path) -> None:
    project = by_snakemake.copy(tmp_path / "project")
    table = (project.folder / TABLE).read_bytes()
    remove(project.folder / "results")
    at_work = project.start("snakemake", "--cores", "all", TABLE)
    wait_for(project.folder / "results/shapes/val/.predictions.begun", at_work)
    project.set("recipe.crf.iterations=1")
    assert at_work.wait() == 0
    assert (project.folder / TABLE).read_bytes() == table
    assert project.rules(TABLE) == ["crf", "score", "table"]


@pytest.mark.slow
def test_an_edit_while_dvc_runs_fails_the_stage_that_dvc_would_take_for_one_of_it(
    by_dvc: Project, tmp_path: Path
) -> None:
    project = by_dvc.copy(tmp_path / "project")
    project.set("recipe.crf.iterations=5")
    at_work = project.start("dvc", "repro")
    wait_for(project.folder / "results/shapes/val/.crf.begun", at_work)
    project.set("recipe.crf.iterations=1")
    assert at_work.wait() != 0
    said = "unia: params.yaml was edited while crf ran (now crf.iterations=1): DVC would take its result"
    assert said in (project.folder / "started.log").read_text()
    assert project.stages() == ["crf@shapes-val", "score@shapes-val", "table@shapes-val"]
    receipt = read_receipt(project.folder / "results/shapes/val/crf.run.json")
    assert receipt["params"]["crf"]["iterations"] == 1


def wait_for(file: Path, at_work: subprocess.Popen[str]) -> None:
    while not file.exists():
        assert at_work.poll() is None, f"it ended before {file}"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("step", "last"),
    [("download", "data"), ("prepare", "data"), ("train", "train"), ("infer", "infer"), ("crf", "crf")]
    + [(step, "crf") for step in ("score", "table", "figures", "volumes", "ablation")],
)
def test_a_result_depends_on_the_parameters_of_all_steps_before_it(step: str, last: str) -> None:
    sections = list(Recipe.model_fields)  # in the order of the steps that read them
    assert behind(step) == tuple(sections[: sections.index(last) + 1])
