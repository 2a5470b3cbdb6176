"""Fixtures: two projects, computed once and shared; a test that changes one takes a copy."""

import pytest
from project import TABLE, Project


@pytest.fixture(scope="session")
def by_snakemake(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose table of shapes Snakemake has computed."""
    project = Project(tmp_path_factory.mktemp("by_snakemake"))
    project.ok("snakemake", "--cores", "all", TABLE)
    return project


@pytest.fixture(scope="session")
def by_dvc(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose table of shapes DVC has computed."""
    project = Project(tmp_path_factory.mktemp("by_dvc"))
    project.ok("dvc", "repro")
    return project
