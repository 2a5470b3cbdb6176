"""`snakemake results/ablation_shapes.csv` trains what is missing; MLflow shows the variants below one run."""

import csv

import pytest
from mlflow import MlflowClient
from project import Project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("ablation"))
    project.ok("snakemake", "--cores", "all", "--quiet", "--", "results/ablation_shapes.csv")
    return project


def test_the_table_holds_every_variant(project: Project) -> None:
    with (project.folder / "results/ablation_shapes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(dict.fromkeys(row["variant"] for row in rows)) == ["full", "no_energy"]
    assert {row["changes"] for row in rows} == {"", "losses.energy.weight=0"}
    for row in rows:
        with (project.folder / f"results/shapes/{row['variant']}/1/train/losses.csv").open() as file:
            losses = list(csv.DictReader(file))
        assert (losses[-1]["energy"] != "") == (row["variant"] == "full")


def test_a_new_seed_runs_only_what_is_missing(project: Project) -> None:
    seeds = "ablations={shapes: {seeds: [1, 2]}}"
    rules = project.rules("--config", seeds, "--", "results/ablation_shapes.csv")
    assert sorted(rules) == sorted(["train", "infer", "crf", "score"] * 2 + ["ablation"])


def test_runs_lie_below_the_ablation_with_their_recipe_and_scores(project: Project) -> None:
    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'shapes'")
    runs = {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}
    by_name = {run.info.run_name: run for run in runs.values()}
    whole = by_name["shapes ablation"]
    variants = [by_name["full, seed 1"], by_name["no_energy, seed 1"]]
    assert {run.data.tags["mlflow.parentRunId"] for run in variants} == {whole.info.run_id}
    assert by_name["ablation val"].data.tags["mlflow.parentRunId"] == whole.info.run_id
    assert [run.data.params["losses.energy.weight"] for run in variants] == ["0.05", "0.0"]
    for run in variants:
        assert 0 <= run.data.metrics["seg_ms_crf/mIoU"] <= 1
        below = [r for r in runs.values() if r.data.tags.get("mlflow.parentRunId") == run.info.run_id]
        assert {r.data.tags["unia.step"] for r in below} == {"train", "infer", "crf", "score"}
        assert {r.data.tags["unia.run"] for r in below} == {run.data.tags["unia.run"]}


def test_runs_are_found_by_dataset_and_by_data(project: Project) -> None:
    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    every = [experiment.experiment_id for experiment in client.search_experiments()]
    steps = client.search_runs(every, "tags.`unia.dataset` = 'shapes' and tags.`unia.step` LIKE '%'")
    by_step = [run.data.tags["unia.step"] for run in steps]
    expected = ["download", "prepare", "ablation"] + ["train", "infer", "crf", "score"] * 2
    assert sorted(by_step) == sorted(expected)
    (prepare,) = [run for run in steps if run.data.tags["unia.step"] == "prepare"]
    digest = prepare.data.tags["output.out"]
    users = client.search_runs(every, f"tags.`input.data` = '{digest}'")
    assert sorted(run.data.tags["unia.step"] for run in users) == sorted(
        ["train", "infer", "crf", "score"] * 2
    )
