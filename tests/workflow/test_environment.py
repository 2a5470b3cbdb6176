"""What has to be there before a step can run: programs, and the environment that conda makes."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
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


LIGHT = ("yaml", "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection")
SMALL = ("filelock", "rich")  # that Snakemake does not bring itself


def test_parameters_are_read_without_the_libraries_of_the_steps(tmp_path: Path) -> None:
    """Those are for the rules' own environments (conda); what builds the graph may have a small one."""
    imports = re.findall(r"^from unia.*$", (ROOT / "workflow/rules/common.smk").read_text(), re.MULTILINE)
    assert len(imports) > 3
    for name in (*LIGHT, *SMALL):
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        place = origin.parent if origin.name == "__init__.py" else origin
        (tmp_path / place.name).symlink_to(place)
    loads = "from pathlib import Path\nprint(load(Path('params.yaml')).recipe('voc').model.backbone)"
    code = f"import sys\nsys.path += {[str(tmp_path), str(ROOT)]}\n" + "\n".join([*imports, loads])
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("vit_base_patch16_224")
