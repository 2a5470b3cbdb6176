"""The Slurm profile asks for what docs/clusters.md says of each rule."""

import re
from pathlib import Path

from project import ROOT, Project

ROW = re.compile(r"^\| (\w+) \| ([\d,]*) ?\| ([\d,]+) \| ([\d,]+) \| ", re.MULTILINE)


def test_every_rule_asks_for_what_the_table_says(tmp_path: Path) -> None:
    project = Project(tmp_path)
    targets = ("reported", "results/ablation_shapes.csv", "results/shapes/val/volumes")
    printed = project.ok("snakemake", "--dry-run", "--profile", "profiles/slurm", *targets)
    asked = {
        rule: dict(re.findall(r"(\w+)=([^,\s]+)", resources))
        for rule, resources in re.findall(r"^rule (\w+):.*?^    resources: (.*?)$", printed, re.M | re.S)
    }
    rows = ROW.findall((ROOT / "docs/clusters.md").read_text())
    assert {rule for rule, *_ in rows} == set(asked) - {"reported"}  # which only names what is wanted
    for rule, *numbers in rows:
        gpu, memory, minutes = (number.replace(",", "") for number in numbers)
        found = asked[rule]
        assert (found.get("gpu", ""), found["mem_mb"], found["runtime"]) == (gpu, memory, minutes), rule
