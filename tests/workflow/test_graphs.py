"""Snakemake's rules and DVC's stages: one set of commands, one set of parameters."""

import re
from pathlib import Path

import pytest
import yaml
from dvc.dependency import ParamsDependency
from dvc.repo import Repo
from project import ROOT, Project

from unia.pipeline import STEPS
from unia.recipe import SECTIONS

WITHOUT_STAGE = ("evaluate", "ablation", "volumes", "figures")

Node = tuple[str, frozenset[str], frozenset[str]]  # command, inputs, outputs


def test_rules_and_stages_have_the_same_commands_inputs_and_outputs(tmp_path: Path) -> None:
    project = Project(tmp_path)
    stages = stages_of(project)
    made = {out for _, _, outs in stages for out in outs}
    rules = rules_of(project, *made)
    assert "results/shapes_val.csv" in made
    assert len(rules) >= 7
    assert rules == stages


def rules_of(project: Project, *targets: str) -> set[Node]:
    """The jobs that Snakemake plans for `targets`, read off its dry run."""
    printed = project.ok("snakemake", "--dry-run", "--printshellcmds", "--forceall", *targets)
    nodes = set()
    for job in re.split(r"^(?:local)?rule ", printed, flags=re.MULTILINE)[1:]:
        found = dict(re.findall(r"^ *(input|output|Shell command): (.+)$", job, flags=re.MULTILINE))
        files = [frozenset(found.get(key, "").split(", ")) - {""} for key in ("input", "output")]
        nodes.add((found["Shell command"], *files))
    return nodes


def stages_of(project: Project) -> set[Node]:
    """The stages of dvc.yaml as DVC resolves them, but for those that always run: they look at sources."""
    with Repo(str(project.folder)) as repo:
        return {
            (
                stage.cmd,
                # The state of a weights' file stands for one in DVC even where none is named.
                frozenset(
                    str(dep)
                    for dep in stage.deps
                    if not isinstance(dep, ParamsDependency) and not str(dep).endswith("weights.json")
                ),
                frozenset(str(out) for out in stage.outs),
            )
            for stage in repo.index.stages
            if not stage.always_changed
        }


def test_overrides_leave_the_shell_strict(tmp_path: Path) -> None:
    """Snakemake's own prefix stops a rule where a command of a pipe fails; ours takes its place."""
    project = Project(tmp_path)
    with (project.folder / "Snakefile").open("a") as file:
        file.write('\n\nrule piped:\n    output: touch("piped")\n    shell: "false | true"\n')
    for overrides, prefix in (((), "set"), (("--config", "size=full"), "UNIA_SET")):
        done = project.run("snakemake", "--cores", "1", *overrides, "--", "piped")
        assert done.returncode == 1, done.stdout
        assert prefix in done.stdout


@pytest.mark.parametrize("step", [step for step in STEPS if step not in WITHOUT_STAGE])
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


def test_an_unknown_parameter_stops_both_with_its_line(tmp_path: Path) -> None:
    project = Project(tmp_path)
    params = tmp_path / "params.yaml"
    params.write_text(params.read_text().replace("  crf:\n    iterations:", "  crf:\n    iteratons:", 1))
    line = 1 + params.read_text().splitlines().index("    iteratons: 10")
    for command in (("snakemake", "--dry-run"), ("snakemake", "--cores", "1"), ("dvc", "repro")):
        done = project.run(*command)
        assert done.returncode != 0
        reason = f"params.yaml:{line}: recipe.crf.iteratons: unknown key; did you mean 'iterations'?"
        assert done.stdout.count(reason) == 1
        assert "Traceback" not in done.stdout
        assert not (tmp_path / "data").exists()
