"""`make setup`, with a Python that only pretends to make an environment; tests of a source archive."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import project as of_tests
import pytest
from project import ROOT, Project

PYTHON = f"""#!/bin/sh
if [ "$1" = -c ]; then
  exec "{sys.executable}" -c "import sys; sys.version_info = (3, $MINOR, 4, 'final', 0); $2"
fi
mkdir -p .venv/bin
for program in python pip; do printf '#!/bin/sh\\n' > .venv/bin/$program; done
printf "#!%s/.venv/bin/python\\n" "$PWD" > .venv/bin/snakemake
chmod +x .venv/bin/*
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with what `make setup` reads, and a Python to name."""
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    folder = tmp_path / "a project"
    for name in ("Makefile", "pyproject.toml", "envs/requirements.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return folder


def setup(folder: Path, minor: int = 11) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", f"PYTHON={folder.parent / 'python'}", "setup"],
        cwd=folder, env={**environment, "MINOR": str(minor)}, capture_output=True, text=True,
    )  # fmt: skip


def place(folder: Path) -> str:
    """Where the folder's Snakemake looks for its Python."""
    return (folder / ".venv/bin/snakemake").read_text().strip()


def test_an_environment_is_made_again_where_the_folder_was_moved(project: Path) -> None:
    assert setup(project).returncode == 0
    assert place(project) == f"#!{project}/.venv/bin/python"
    (project / ".venv/old").touch()
    link = project.with_name("another way")
    link.symlink_to(project)
    program = project / ".venv/bin/snakemake"
    program.write_text(program.read_text().replace(str(project), str(link)))  # the same folder all the same
    assert setup(project).returncode == 0
    assert (project / ".venv/old").exists()
    moved = project.rename(project.with_name("renamed"))
    copied = Path(shutil.copytree(moved, moved.with_name("copied")))
    for folder in (moved, copied):
        done = setup(folder)
        assert done.returncode == 0
        assert "This folder is not where .venv was made" in done.stdout
        assert place(folder) == f"#!{folder}/.venv/bin/python"
        assert not (folder / ".venv/old").exists()
        assert ".venv" not in setup(folder).stdout


@pytest.mark.parametrize("minor", [10, 14])
def test_a_python_that_does_not_do_is_named_at_once(minor: int, project: Path) -> None:
    done = setup(project, minor)
    assert done.returncode != 0
    said = done.stderr.splitlines()[0]
    assert said.startswith("unia needs Python 3.11 to 3.13, ")
    assert said.endswith(f"is 3.{minor}: make PYTHON=python3.12 setup, for instance")
    assert not (project / ".venv").exists()


def test_tests_make_their_projects_of_a_source_archive_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds no repository: what is ours is what .gitignore leaves."""
    ours = ("params.yaml", ".gitignore", "docs/published.csv")
    for name in (*ours, "results/shapes_val.csv", "logs/a.log"):
        (tmp_path / "archive" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "archive" / name).write_bytes((ROOT / name).read_bytes() if name in ours else b"")
    monkeypatch.setattr(of_tests, "ROOT", tmp_path / "archive")
    made = Project(tmp_path / "made")
    assert made.ok("git", "ls-files").split() == sorted(ours)
    assert made.ok("git", "status", "--porcelain") == ""
