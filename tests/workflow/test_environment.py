"""What has to be there before a step can run: programs, and the environment that conda makes."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import yaml
from project import ROOT

ENVS = ROOT / "envs"
SCRIPT = ENVS / "conda.post-deploy.sh"


def test_setup_names_a_program_that_snakemake_needs(tmp_path: Path) -> None:
    make = shutil.which("make")
    assert make
    for name in ("Makefile", "pyproject.toml", "envs/requirements.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run([make, "setup"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "the program `which` is missing" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_conda_is_asked_for_nothing_that_lies_beside_its_file() -> None:
    """Snakemake copies conda.yaml elsewhere; pip would look for a requirements file there."""
    packages = yaml.safe_load((ENVS / "conda.yaml").read_text())["dependencies"]
    assert all(isinstance(package, str) for package in packages)


def test_the_script_after_conda_installs_the_lock_file_and_unia(tmp_path: Path) -> None:
    """Snakemake runs a copy of it, in the project's folder."""
    said = tmp_path / "said"
    pip = tmp_path / "pip"
    pip.write_text(f'#!/bin/sh\necho "$*" >> {said}\n')
    pip.chmod(0o755)
    copy = Path(shutil.copy(SCRIPT, tmp_path))
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", copy], cwd=ROOT, env={**os.environ, "PATH": path}, check=True)
    lock, unia = said.read_text().splitlines()
    assert "--require-hashes" in lock
    assert (ROOT / lock.split()[-1]).samefile(ENVS / "requirements.txt")
    assert unia.endswith("--editable .")


def test_another_lock_file_makes_another_environment() -> None:
    """By the script's content; as git names the file's (`make lock`)."""
    lock = (ENVS / "requirements.txt").read_bytes()
    name = hashlib.sha1(b"blob %d\0" % len(lock) + lock).hexdigest()
    assert re.findall("(?m)^# requirements.txt: (.*)$", SCRIPT.read_text()) == [name], "run `make lock`"
