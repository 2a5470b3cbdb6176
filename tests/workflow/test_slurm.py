"""Jobs that Slurm ends: Snakemake submits them again. Small programs speak as Slurm's own do."""

import os
import subprocess
from pathlib import Path

import pytest
from project import ROOT, Project

# sbatch: a dataset's first job is ended from without, its second makes what it should; `jobs` holds all.
PROGRAMS = {
    "sbatch": """
        case "$*" in *rule_download/shapes*) name=shapes fate=CANCELLED ;; *) name=voc fate=PREEMPTED ;; esac
        raw="$OLDPWD/data/raw"
        mkdir $fate || { fate=COMPLETED; mkdir -p "$raw"; touch "$raw/$name.json"; }
        echo "$$|$fate" >> jobs
        echo $$
    """,
    "squeue": "cat jobs",
    "sacct": """
        case "$*" in *JobIdRaw,State*) sed 's/CANCELLED/CANCELLED by 1001/' jobs ;; *) exit 1 ;; esac
    """,
    "scontrol": "echo 'MinJobAge = 300 sec'",
    "sinfo": "echo 'main*'",
    "scancel": "",
}


@pytest.fixture
def slurm(tmp_path: Path) -> Path:
    """A folder of programs that stand for Slurm, and of what they know."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, lines in PROGRAMS.items():
        program = folder / name
        program.write_text(f"#!/bin/sh\ncd '{folder}'\n{lines}\n")
        program.chmod(0o755)
    return folder


@pytest.mark.slow
def test_jobs_that_slurm_ends_are_submitted_again(slurm: Path, tmp_path: Path) -> None:
    """By scancel, where sacct would say by whom, and by preemption that cancels."""
    project = Project(tmp_path / "project")
    command = ("snakemake", "--profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "1")
    done = subprocess.run(
        [*command, "data/raw/shapes.json", "data/raw/voc.json"],
        cwd=project.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
        env=project.environment | {"PATH": f"{slurm}{os.pathsep}{project.environment['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    fates = sorted(line.partition("|")[2] for line in (slurm / "jobs").read_text().splitlines())
    assert fates == ["CANCELLED", "COMPLETED", "COMPLETED", "PREEMPTED"]


def test_only_what_was_preempted_for_good_is_told_otherwise(slurm: Path) -> None:
    (slurm / "jobs").write_text("1|PENDING\n2|RUNNING\n3|PREEMPTED\n4|COMPLETED\n")
    path = os.pathsep.join([str(ROOT / "workflow/slurm"), str(slurm), os.environ["PATH"]])
    said = subprocess.check_output(["squeue", "--format=%i|%T"], env=os.environ | {"PATH": path}, text=True)
    assert said == "1|PENDING\n2|RUNNING\n3|CANCELLED\n4|COMPLETED\n"
    (slurm / "squeue").write_text("#!/bin/sh\necho 'no controller' >&2\nexit 1\n")
    failed = subprocess.run(["squeue"], env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert (failed.returncode, failed.stdout) == (1, "")
