"""Fixtures: two projects, computed once for all test processes; a test that changes one takes a copy."""

import os
from collections.abc import Callable
from pathlib import Path

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
    def make(folder: Path) -> None:
        Project(folder).ok(*command)

    return Project.there(once(factory, name, make))


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` that all test processes share, made by the first that asks for it."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the one folder of all test processes
    folder, done = base / name, base / f"{name}.done"
    with FileLock(f"{folder}.lock"):
        if not done.exists():
            make(folder)
            done.touch()
    return folder
