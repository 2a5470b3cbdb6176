"""The Slurm profile asks for what docs/clusters.md says of each rule; a step can be several jobs."""

import re
import shutil
from pathlib import Path

import pytest
from project import ROOT, TABLE, Project

from unia.files import sha256_tree

pytest_plugins = "computed"

SCATTER = ("--set-scatter", "infer=2", "crf=3", "--")
CHECKPOINT = "results/shapes/train/checkpoint.safetensors"
ROW = re.compile(r"^\| ([\w, ]+) \| ([\d,]*) ?\| ([\d,]+) \| ([\d,]+) \| (\d+) \|$", re.MULTILINE)


def test_every_rule_asks_for_what_the_table_says(tmp_path: Path) -> None:
    project = Project(tmp_path)
    targets = ("reported", "results/ablation_shapes.csv", "results/shapes/val/volumes")
    plan = ("snakemake", "--dry-run", "--cores", "64")  # of one core, it would say one thread everywhere
    printed = project.ok(*plan, "--profile", "profiles/slurm", *SCATTER, *targets)
    asked = {
        rule: {"threads": "1", **dict(re.findall(r"(\w+)(?:=|: )([^,\s]+)", f"{threads} {resources}"))}
        for rule, threads, resources in re.findall(
            r"^rule (\w+):.*?(?:^    (threads: \d+)\n)?^    resources: (.*?)$", printed, re.M | re.S
        )
    }
    rows = ROW.findall((ROOT / "docs/clusters.md").read_text())
    written = {rule: numbers for rules, *numbers in rows for rule in rules.split(", ")}
    assert set(written) == set(asked) - {"reported"}  # which only names what is wanted
    for rule, numbers in written.items():
        found = [asked[rule].get(name, "") for name in ("gpu", "mem_mb", "runtime", "threads")]
        assert found == [number.replace(",", "") for number in numbers], rule


def test_cores_and_memory_grow_with_the_gpus_of_one_node(tmp_path: Path) -> None:
    project = Project(tmp_path)
    plan = ("snakemake", "--dry-run", "--cores", "64")
    for gpus, threads, memory in ((0, 16, 32000), (2, 32, 64000)):
        said = project.ok(*plan, "--set-resources", f"train:gpu={gpus}", "--", CHECKPOINT)
        (asked,) = re.findall(r"^rule train:.*?^    threads: (\d+)\n    resources: (.*?)$", said, re.M | re.S)
        assert asked[0] == str(threads)
        assert {f"gpu={gpus}", f"mem_mb={memory}", "nodes=1"} <= set(asked[1].split(", "))


def test_the_profile_for_two_partitions_leaves_no_rule_out(tmp_path: Path) -> None:
    project, profile = Project(tmp_path), tmp_path / "two"
    profile.mkdir()
    (written,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs/clusters.md").read_text(), re.M | re.S)
    (profile / "config.yaml").write_text(written)
    plan = ("snakemake", "--dry-run", "--cores", "64", "--profile", str(profile))
    said = project.ok(*plan, *SCATTER, "reported")
    asked = re.findall(r"^rule (\w+):.*?^    resources: (.*?)$", said, re.M | re.S)
    assert {"train", "infer_part", "figures", "crf_part", "table"} <= {rule for rule, _ in asked}
    for rule, resources in asked:
        assert f"slurm_partition={'gpu' if 'gpu=1' in resources else 'cpu'}" in resources, rule
    assert max(map(int, re.findall(r"^    threads: (\d+)$", said, re.M))) == 8


@pytest.mark.slow
def test_steps_in_parts_give_the_same_bytes(by_snakemake: Project, tmp_path: Path) -> None:
    project = by_snakemake.copy(tmp_path)
    project.set("small.infer.batch=2")  # so that each part has one
    project.commit()
    project.ok("snakemake", "--cores", "2", TABLE)
    made = [
        project.folder / name for name in (TABLE, "results/shapes/val/predictions", "results/shapes/val/crf")
    ]
    before = [sha256_tree(path) for path in made]
    shutil.rmtree(made[1])
    said = project.ok("snakemake", "--cores", "2", *SCATTER, TABLE)
    rules = [f"{step}_part" for step in 2 * ["infer"] + 3 * ["crf"]] + ["infer", "crf", "score", "table"]
    assert sorted(re.findall(r"^(?:local)?rule (\w+):", said, re.MULTILINE)) == sorted(rules)
    assert "infer val: goes on after 6 images" in said
    assert "CRF, val: goes on after 6 images" in said
    assert [sha256_tree(path) for path in made] == before
    assert not [
        path.name for path in made[1].parent.iterdir() if "-of-" in path.name or ".partial" in path.name
    ]
    project.ok("unia", "trace", TABLE, "--verify")
    assert project.rules(*SCATTER, TABLE) == []
    project.ok("snakemake", "--touch", "--cores", "1", TABLE)
    assert project.rules(TABLE) == []
    assert "crf@shapes-val" in project.ok("unia", "sync", "--to", "dvc")
