"""Every step on a file system of 20 MB that is full: one line, nothing half-written; with room it goes on."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from project import TABLE, Project
from small_disk import filled, small_disks, visible

from unia.tracking.runs import step_run

pytestmark = [pytest.mark.slow, pytest.mark.faults]

STEPS = {  # step: (what it makes, bytes that are left when it starts)
    "download": ("data/raw/shapes.json", 16_384),
    "prepare": ("data/shapes", 8_192),
    "train": ("results/shapes/train/checkpoint.safetensors", 100_000),
    "infer": ("results/shapes/val/predictions", 8_192),
    "crf": ("results/shapes/val/crf", 4_096),
    "score": ("results/shapes/val/scores.json", 0),
    "table": (TABLE, 0),
    "figures": ("results/shapes/val/figures", 32_768),
}


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Path]:
    """A folder with small file systems at data/ and results/."""
    folder = tmp_path / "project"
    with small_disks(folder / "data", folder / "results"):
        yield folder


def test_every_step_fails_in_one_line_and_goes_on_with_room(disks: Path) -> None:
    project = Project(disks)
    for step, (target, left) in STEPS.items():
        disk = disks / Path(target).parts[0]
        project.ok("snakemake", "-n", target)  # the graph is built, and the state of the source written down
        before = visible(disk)
        with filled(disk, left):
            done = project.run("snakemake", "--cores", "1", target)
        said = [line for line in done.stdout.splitlines() if line.startswith("unia: ")]
        print(f"{step}: {said}")
        assert done.returncode != 0
        assert len(said) == 1, done.stdout
        assert said[0].startswith(f"unia: {disk.name}/")
        assert "No space left on device" in said[0]
        assert "Traceback" not in done.stdout
        assert visible(disk) == before
        project.ok("snakemake", "--cores", "1", target)
    assert project.rules(TABLE) == []
    for folder in ("data", "results"):
        assert not list((disks / folder).rglob(".*.partial"))


@pytest.mark.parametrize("when", ["before", "while"])
def test_mlflow_s_store_on_a_full_disk_costs_one_warning(
    when: str, disks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    disk, model = disks / "results", tmp_path / "model.bin"
    monkeypatch.chdir(disk)
    for name in ("MLFLOW_TRACKING_URI", "RANK"):
        monkeypatch.delenv(name, raising=False)
    with ExitStack() as full:
        if when == "before":
            full.enter_context(filled(disk))
        with step_run("train", "shapes", {}, {}, {"model": model}) as run:
            assert (run.id is None) == (when == "before")
            if when == "while":
                full.enter_context(filled(disk))
            run.log_metrics({f"loss {i:0200}": 1.0 for i in range(900)})
            model.write_bytes(b"weights")
    said = capfd.readouterr().err.splitlines()
    print(said)
    assert len(said) == 1
    assert said[0].startswith("warning: MLflow does not record this step: ")
    assert "disk is full" in said[0]
    assert model.with_name("model.bin.run.json").exists()
