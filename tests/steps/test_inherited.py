"""What a user's shell, notebook, home and git say does not change what a step does or records."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import commit
from project import ROOT, TABLE, Project
from small_split import make_small

from unia.tracking import record
from unia.training.deterministic import use_deterministic

GIT = """
[diff]
  external = /bin/true
  noprefix = true
  algorithm = histogram
  mnemonicPrefix = true
  relative = true
  renames = copies
  orderFile = /dev/null
  autoRefreshIndex = false
[color]
  ui = always
[core]
  pager = false
  quotePath = true
  fsmonitor = /bin/false
[status]
  showUntrackedFiles = no
"""


def test_git_answers_the_same_whatever_its_user_has_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("code", "other"):
        commit(tmp_path / name, name)
    code = tmp_path / "code"
    monkeypatch.setattr(record, "ROOT", code)
    clean = record.git_state()
    (code / "code.py").write_text("changed, and ö\n")
    (code / "ünew.py").write_text("new\n")
    dirty = record.git_state()
    assert (clean["dirty"], dirty["dirty"]) == (False, True)

    (tmp_path / "gitconfig").write_text(GIT)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "/bin/true")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))  # as a hook of git has it
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_LITERAL_PATHSPECS", "1")
    assert record.git_state() == dirty
    (code / "code.py").write_text("changed again\n")
    assert record.git_state()["diff"] != dirty["diff"]
    (code / "ünew.py").unlink()
    (code / "code.py").write_text("code")
    os.utime(code / "code.py", (1, 1))
    assert record.git_state() == clean


@pytest.mark.slow
def test_a_step_heeds_no_notebook_scheduler_home_or_locale(tmp_path: Path) -> None:
    small = make_small(tmp_path)
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "matplotlibrc").write_text("text.usetex: true\n")  # LaTeX, which is not there
    environment = {
        **os.environ,
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "XDG_CONFIG_HOME": str(tmp_path),
        "MATPLOTLIBRC": str(tmp_path / "matplotlib" / "matplotlibrc"),
        "HOME": "/proc/none",
        "MLFLOW_RUN_ID": 32 * "0",
        "MLFLOW_EXPERIMENT_NAME": "mine",
        "RANK": "1",
        "WORLD_SIZE": "2",
        "LC_ALL": _latin(tmp_path),
        "LOCPATH": str(tmp_path / "locale"),
        "PYTHONPATH": str(ROOT),
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = f"-m unia score acdc --split val --data {small.data} --predictions {small.predictions}"
    command += f" --crf {small.crf} --out scores.json --images images.csv --params {ROOT / 'params.yaml'}"
    done = subprocess.run(
        [sys.executable, *command.split()], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    run = json.loads((tmp_path / "scores.json.run.json").read_text())["mlflow_run_id"]
    assert run not in (None, 32 * "0")
    assert "warning" not in done.stderr
    assert list(tmp_path.glob(f"mlartifacts/*/{run}/artifacts/confusion.png"))


def test_files_of_the_users_folder_are_no_modules_of_python(tmp_path: Path) -> None:
    for name in ("random", "secrets", "queue"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not mine to import')")
    start = "sys.exit(subprocess.call([sys.executable, '-m', 'unia', '--help']))"
    code = f"import subprocess, sys; from unia.inherited import set_aside; set_aside(); {start}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _latin(folder: Path) -> str:
    """The name of a locale that is not UTF-8; C's, which Python takes for UTF-8, where none can be made."""
    name = "en_US.ISO-8859-1"
    (folder / "locale").mkdir()
    command = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(folder / "locale" / name)]
    try:
        return name if subprocess.run(command, capture_output=True).returncode == 0 else "C"
    except FileNotFoundError:
        return "C"


def test_snakemake_plans_where_the_home_cannot_be_written(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.environment["HOME"] = "/proc/none"
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        project.environment.pop(name, None)
    assert "table" in project.rules(TABLE)


@pytest.mark.parametrize(("given", "used"), [(None, ":4096:8"), (":0:0", ":4096:8"), (":16:8", ":16:8")])
def test_deterministic_training_replaces_a_workspace_that_repeats_nothing(
    given: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", given or "")
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda *_, **__: None)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    use_deterministic(True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == used
