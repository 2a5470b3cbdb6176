"""Fixtures: two projects, computed once for all test processes; a test that changes one takes a copy."""

import os

import pytest
from filelock import FileLock
from project import Project


@pytest.fixture(scope="session")
def by_snakemake(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose table of shapes, and the report's pages of it, Snakemake has computed."""
    return _computed(tmp_path_factory, "by_snakemake", "snakemake", "--cores", "all", "reported")


@pytest.fixture(scope="session")
def by_dvc(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose table of shapes DVC has computed."""
    return _computed(tmp_path_factory, "by_dvc", "dvc", "repro")


def _computed(factory: pytest.TempPathFactory, name: str, *command: str) -> Project:
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the one folder of all test processes
    folder, done = base / name, base / f"{name}.done"
    with FileLock(f"{folder}.lock"):
        if done.exists():
            return Project.there(folder)
        project = Project(folder)
        project.ok(*command)
        done.touch()
        return project
