"""Snakemake's rules and DVC's stages: one set of commands, one set of parameters."""

from pathlib import Path

import pytest
import yaml
from project import ROOT, Project

from unia.config import SECTIONS, STEPS


def test_rules_and_stages_run_the_same_commands(tmp_path: Path) -> None:
    project = Project(tmp_path)
    table = "results/shapes_val.csv"
    printed = project.ok("snakemake", "--dry-run", "--printshellcmds", "--forceall", table).splitlines()
    rules = [line.split(": ", 1)[1] for line in printed if line.startswith("Shell command: ")]
    stages = [line[2:] for line in project.ok("dvc", "repro", "--dry").splitlines() if line.startswith("> ")]
    assert len(rules) == 7
    assert sorted(rules) == sorted(stages)


@pytest.mark.parametrize("step", [step for step in STEPS if step != "evaluate"])
def test_stages_follow_the_sections_that_their_step_reads(step: str) -> None:
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][step]
    expected = {
        f"{layer}.{section}"
        for section in STEPS[step]
        for layer in ("recipe", "small", "datasets.${item.dataset}")
        if section in SECTIONS or layer.startswith("datasets")
    }
    if set(STEPS[step]) & set(SECTIONS):
        expected.add("size")
    assert set(stage.get("params", [])) == expected


def test_an_unknown_parameter_stops_the_workflow_with_its_line(tmp_path: Path) -> None:
    project = Project(tmp_path)
    params = tmp_path / "params.yaml"
    params.write_text(params.read_text().replace("  crf:\n    iterations:", "  crf:\n    iteratons:", 1))
    line = 1 + params.read_text().splitlines().index("    iteratons: 10")
    done = project.run("snakemake", "--dry-run", "results/shapes_val.csv")
    assert done.returncode != 0
    assert f"params.yaml:{line}: recipe.crf.iteratons: unknown key; did you mean 'iterations'?" in done.stdout
    assert "Traceback" not in done.stdout
