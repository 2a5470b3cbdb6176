"""Folders linked to a larger disk, as quotas of home folders make people do."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from project import ROOT, Project

pytestmark = pytest.mark.slow
FOLDERS = ("data", "results", "logs", "mlruns", "mlartifacts", "dvc_plots", ".snakemake", "benchmarks/out")
TRACKED = "results/README.md"  # the one file of these folders that git holds


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose folders of data and results lie elsewhere, instead of where git knows them."""
    project = Project(tmp_path / "project")
    (project.folder / "results").mkdir()
    shutil.copy(ROOT / TRACKED, project.folder / TRACKED)
    project.ok("git", "add", "--force", TRACKED)
    project.ok("git", "commit", "--quiet", "--message", "what git ignores, yet tracks")
    for name in FOLDERS:
        path, elsewhere = project.folder / name, tmp_path / "larger" / name
        elsewhere.mkdir(parents=True)
        if path.exists():
            path.rename(tmp_path / f"moved {name}")
        path.symlink_to(elsewhere)
    return project


def test_the_code_is_as_committed(project: Project) -> None:
    changed = project.ok("git", "status", "--porcelain", "--untracked-files=all").splitlines()
    assert changed == [f" D {TRACKED}"]
    project.ok("unia", "download", "shapes", "--out", "data/raw/shapes.json")
    receipt = json.loads((project.folder / "data/raw/shapes.json.run.json").read_text())
    assert receipt["git"]["commit"]
    assert receipt["git"]["dirty"] is False


def test_dvc_is_told_before_anything_is_computed(project: Project) -> None:
    done = project.run("dvc", "repro", "download@shapes")
    assert done.returncode != 0
    there = os.path.realpath(project.folder / "data/raw")
    assert f"lies behind a link to {there}, where DVC keeps no outputs: use `snakemake`" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (project.folder / "data/raw").exists()


def test_a_dataset_s_raw_data_may_lie_elsewhere_for_dvc_too(tmp_path: Path) -> None:
    """As the message says that names what the disk lacks."""
    project = Project(tmp_path / "project")
    (tmp_path / "larger").mkdir()
    (project.folder / "data/raw").mkdir(parents=True)
    (project.folder / "data/raw/acdc").symlink_to(tmp_path / "larger")
    with zipfile.ZipFile(tmp_path / "acdc.zip", "w") as archive:
        archive.writestr("training/patient001/Info.cfg", "")
    project.set(f"datasets.acdc.data.source={tmp_path / 'acdc.zip'}", "run=[acdc]")
    project.ok("dvc", "repro", "download@acdc")
    assert (tmp_path / "larger/unpacked/training/patient001/Info.cfg").exists()
    assert (project.folder / "data/raw/acdc").is_symlink()
