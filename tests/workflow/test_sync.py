"""Snakemake and DVC on one working copy: each knows the other's work, and notices the next change."""

import json
from pathlib import Path

import pytest
from project import TABLE, Project

AFTER_CRF = ["crf", "score", "table"]
LAST = ("table@shapes-val",)

pytest_plugins = "computed"
pytestmark = pytest.mark.slow


@pytest.fixture(params=["snakemake", "dvc"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Project, str]:
    """A project that the one tool has computed, and the name of the other."""
    project: Project = request.getfixturevalue(f"by_{request.param}")
    return project.copy(tmp_path), {"snakemake": "dvc", "dvc": "snakemake"}[request.param]


def test_both_tools_give_the_same_bytes(by_snakemake: Project, by_dvc: Project) -> None:
    for name in (TABLE, "results/shapes_val.json", "results/shapes/train/losses.csv"):
        assert (by_dvc.folder / name).read_bytes() == (by_snakemake.folder / name).read_bytes()


def test_after_a_sync_both_tools_have_nothing_to_do_and_notice_the_next_change(
    made: tuple[Project, str],
) -> None:
    project, other = made
    first = (project.folder / TABLE).read_bytes()
    project.set("run=[shapes, voc]")  # what is not computed does not matter
    assert "table@shapes-val" in project.ok("unia", "sync", "--to", other)
    assert project.rules(TABLE) == []
    assert project.stages(*LAST) == []
    project.set("recipe.crf.iterations=3")
    assert project.rules(TABLE) == AFTER_CRF
    assert project.stages(*LAST) == [f"{step}@shapes-val" for step in AFTER_CRF]

    project.set("recipe.crf.iterations=10")  # Snakemake's records fit again, DVC's receipts do not
    assert project.rules(TABLE) == AFTER_CRF
    refused(project, "dvc", "Snakemake would still run crf, score, table")
    assert project.stages(*LAST) == []  # from DVC's cache
    assert (project.folder / TABLE).read_bytes() == first


def test_work_that_is_left_refuses_the_sync(made: tuple[Project, str]) -> None:
    project, other = made
    project.set("recipe.crf.iterations=3")
    before = lock(project)
    if other == "dvc":
        refused(project, other, "Snakemake would still run crf, score, table; run `snakemake` first")
    else:
        refused(project, other, "DVC would still run crf@shapes-val; run `dvc repro` first")
        assert not (project.folder / ".snakemake" / "metadata").exists()
    assert lock(project) == before


def test_an_edited_table_is_not_blessed(made: tuple[Project, str]) -> None:
    project, other = made
    with (project.folder / TABLE).open("a") as file:
        file.write("seg_best,100\n")
    before = lock(project)
    refused(project, other, {"dvc": TABLE, "snakemake": "table@shapes-val"}[other])
    assert lock(project) == before


def test_a_sync_needs_outputs_and_parameters_that_dvc_sees(tmp_path: Path) -> None:
    project = Project(tmp_path)
    refused(project, "dvc", "nothing is computed here yet; run `snakemake` or `dvc repro`")
    for name, value in (("UNIA_SET", "recipe.crf.iterations=3"), ("UNIA_PARAMS", "others.yaml")):
        project.environment[name] = value
        refused(project, "snakemake", f"{name} is set, which DVC does not see")
        assert f"{name} is set, which DVC does not see" in project.run("dvc", "repro").stdout
        del project.environment[name]


def test_an_experiment_is_compared_with_the_commit_that_it_started_from(
    by_dvc: Project, tmp_path: Path
) -> None:
    project = by_dvc.copy(tmp_path)
    project.commit()
    project.ok("dvc", "exp", "run", "--set-param", "recipe.crf.iterations=3")
    changed = json.loads(project.ok("dvc", "params", "diff", "--json"))
    assert changed == {"params.yaml": {"recipe.crf.iterations": {"old": 10, "new": 3, "diff": -7}}}
    metrics = json.loads(project.ok("dvc", "metrics", "diff", "--json"))
    assert set(metrics) == {"results/shapes_val.json"}
    assert set(metrics["results/shapes_val.json"]) == {"mIoU.seg_ms_crf"}
    project.ok("dvc", "plots", "diff")
    page = (project.folder / "dvc_plots" / "index.html").read_text()
    assert "losses.csv" in page
    assert "seg_ms_crf" in page

    aside = ("--copy-paths", "data/raw", "--set-param")
    project.ok("dvc", "exp", "run", "--temp", *aside, "recipe.crf.iterations=2")
    project.ok("dvc", "exp", "run", "--queue", *aside, "recipe.crf.iterations=4")
    project.ok("dvc", "exp", "run", "--run-all")
    assert "iterations: 3" in (project.folder / "params.yaml").read_text()
    shown = project.ok("dvc", "exp", "show", "--csv", "--only-changed")
    assert {"2", "3", "4", "10"} <= {cell for line in shown.splitlines() for cell in line.split(",")}


def test_a_remote_brings_the_results_to_another_copy(by_dvc: Project, tmp_path: Path) -> None:
    one, other = by_dvc.copy(tmp_path / "one"), Project(tmp_path / "other")
    for project in (one, other):
        project.ok("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    one.ok("dvc", "push")
    (other.folder / "dvc.lock").write_bytes((one.folder / "dvc.lock").read_bytes())
    other.ok("dvc", "pull")
    assert (other.folder / TABLE).read_bytes() == (one.folder / TABLE).read_bytes()
    assert not (other.folder / "data" / "raw" / "shapes").exists()  # images are not stored; their hash is
    other.ok("unia", "sync", "--to", "snakemake")
    assert other.rules(TABLE) == []
    assert other.stages("--single-item", "--force", "download@shapes") == ["download@shapes"]
    status = json.loads(other.ok("dvc", "status", "--json"))
    assert status == {"source@shapes": ["always changed"]}  # it looks again whenever DVC runs


def refused(project: Project, to: str, *parts: str) -> None:
    """The sync ends with one line that holds `parts`, and exit code 1."""
    done = project.run("unia", "sync", "--to", to)
    assert done.returncode == 1
    line = done.stdout.splitlines()[-1]
    assert line.startswith("unia: ")
    assert all(part in line for part in parts), line
    assert "Traceback" not in done.stdout


def lock(project: Project) -> bytes | None:
    path = project.folder / "dvc.lock"
    return path.read_bytes() if path.exists() else None
