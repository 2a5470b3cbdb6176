"""What Snakemake would remove is asked for first: the old results stay where the new ones cannot be made."""

from pathlib import Path

import pytest
from project import TABLE, Project

from unia.tracking.receipt import contents, read_receipt, write_receipt

pytest_plugins = "computed"
pytestmark = pytest.mark.slow

FILES = {"inputs", "sources", "outputs", "sha256"}  # of a receipt


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("small.model.weights=mistyped.pth", "shapes: model.weights: mistyped.pth does not exist"),
        (
            "datasets.shapes.data={kind: images, source: flwers, classes: [a]}",
            "datasets.shapes.data.source: flwers does not exist",
        ),
    ],
)
def test_a_missing_source_costs_no_old_result(
    change: str, reason: str, by_snakemake: Project, tmp_path: Path
) -> None:
    project = by_snakemake.copy(tmp_path)
    params = (tmp_path / "params.yaml").read_text()
    project.set(change)
    for more in ((), ("--dry-run",)):
        done = project.run("snakemake", "--cores", "1", *more, TABLE)
        assert done.returncode != 0
        assert reason in done.stdout
        assert "Traceback" not in done.stdout
    (tmp_path / "params.yaml").write_text(params)
    assert project.rules(TABLE) == []


def test_a_trial_is_refused_before_the_full_results_are_removed(
    by_snakemake: Project, tmp_path: Path
) -> None:
    project = by_snakemake.copy(tmp_path)
    train, before = tmp_path / "results/shapes/train", project.rules(TABLE)
    receipt = read_receipt(train.with_name("train.run.json"))
    about = {key: value for key, value in receipt.items() if key not in FILES}
    write_receipt({**about, "size": "full"}, {}, [], contents({"out": train}))
    done = project.run("snakemake", "--cores", "1", "--forcerun", "train", "--", TABLE)
    assert done.returncode != 0
    assert "train/checkpoint.safetensors: was made in full (size: full), and a trial" in done.stdout
    assert "Traceback" not in done.stdout
    assert (train / "checkpoint.safetensors").exists()
    assert before == []


def test_what_its_user_has_put_into_a_results_folder_is_not_removed(
    by_snakemake: Project, tmp_path: Path
) -> None:
    project = by_snakemake.copy(tmp_path)
    note = tmp_path / "results/shapes/val/crf/notes.txt"
    note.write_text("seen by eye")
    assert project.rules(TABLE) == []
    project.set("recipe.crf.iterations=5")
    again = ("snakemake", "--cores", "1", "--", "results/shapes/val/crf")
    done = project.run(*again)
    assert done.returncode != 0
    assert "results/shapes/val/crf/notes.txt: no step has made it, and it would be removed" in done.stdout
    assert "Traceback" not in done.stdout
    assert note.read_text() == "seen by eye"
    note.rename(tmp_path / "notes.txt")
    project.ok(*again)
