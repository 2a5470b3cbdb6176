"""Every command of the README works, on a copy of the project at its smallest size."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from project import ROOT, Project

pytest_plugins = "computed"

README = (ROOT / "README.md").read_text(encoding="utf-8")
OWN = "flowers"  # the dataset of the chapter on own data, which test_own_data follows
COMMANDS = [line for line in re.findall(r"^\$ (.+)$", README, re.MULTILINE) if OWN not in line]
# planned only: datasets that the reader has to bring, and the ablation, which test_ablations runs
ELSEWHERE = ("voc", "coco", "acdc", "ablation")


@pytest.fixture(scope="module")
def project(by_snakemake: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy that runs in this test's own environment, set up by `make setup`; its demo is computed."""
    if not (Path(sys.prefix) / "installed").exists():
        pytest.skip("the environment was not made by `make setup`")
    project = by_snakemake.copy(tmp_path_factory.mktemp("readme"))
    (project.folder / ".venv").symlink_to(sys.prefix)
    return project


def test_the_readme_has_commands() -> None:
    assert {"make demo", "make test", "dvc repro", "make mlflow"} <= set(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("line", dict.fromkeys(COMMANDS))
def test_command(line: str, project: Project) -> None:
    command = shlex.split(line)
    if line == "make mlflow":
        return serve(project, command)
    if line == "make test":  # this very run: planned only
        command.append("--dry-run")
    if command[0] == "snakemake" and any(
        f"results/{name}{end}" in line for name in ELSEWHERE for end in "_/"
    ):
        command.insert(1, "--dry-run")
    project.ok(*command)


def serve(project: Project, command: list[str]) -> None:
    """The server answers at the address that the README names, until it is stopped."""
    server = subprocess.Popen(command, cwd=project.folder, env=project.environment, start_new_session=True)
    try:
        for _ in range(120):
            try:
                with urllib.request.urlopen("http://127.0.0.1:5000", timeout=5) as answer:
                    assert answer.status == 200
                    return
            except OSError:
                assert server.poll() is None, "the server ended"
                time.sleep(1)
        pytest.fail("the server did not answer within two minutes")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
