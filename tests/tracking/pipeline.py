"""A pipeline whose data are real and whose results are made up: every step leaves its receipt."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from unia.commands.options import running
from unia.config import load
from unia.steps.download import download
from unia.steps.prepare import prepare
from unia.tracking import record
from unia.tracking.run import Run

PARAMS = Path(__file__).parents[2] / "params.yaml"
SETTINGS = ("size=small", "datasets.shapes.data={kind: shapes, size: 32, train: 3, val: 2, seed: 0}")
TABLE = Path("results/shapes_val.csv")
RAW, DATA, VAL = Path("data/raw/shapes.json"), Path("data/shapes"), Path("results/shapes/val")
TRAIN = Path("results/shapes/train")
VOC = Path("data/raw/shapes/VOCdevkit/VOC2012")
STEPS = ["download", "prepare", "train", "infer val", "crf val", "score val", "table"]


def commit(repository: Path, code: str) -> str:
    """Commit `code`, the workflow and a lock file; returns the commit's name."""
    (repository / "envs").mkdir(parents=True, exist_ok=True)
    (repository / "envs" / "requirements.txt").touch()
    (repository / "code.py").write_text(code)
    for name in (
        "params.yaml", "Snakefile", "dvc.yaml", "workflow/rules/data.smk", "profiles/default/config.yaml",
    ):  # fmt: skip
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_bytes((PARAMS.parent / name).read_bytes())
    for command in ("init -q", "add .", "-c user.name=a -c user.email=a@b commit -qm a"):
        subprocess.run(["git", *command.split()], cwd=repository, check=True)
    head = ["git", "rev-parse", "HEAD"]
    return subprocess.run(head, cwd=repository, capture_output=True, text=True, check=True).stdout.strip()


def run_all() -> None:
    """Every step, in the working directory."""
    data = load(PARAMS, SETTINGS).recipe("shapes").data
    with step("download", {}, RAW) as run:
        run.sources = download("shapes", data, RAW)
    with step("prepare", {"raw": RAW}, DATA):
        prepare("shapes", data, RAW, DATA)
    run_train()
    inputs = {"data": DATA, "checkpoint": TRAIN / "checkpoint.safetensors"}
    with step("infer", inputs, VAL / "predictions"):
        write(VAL / "predictions", "seg/val_000000.png", "probabilities/val_000000.npz")
    inputs = {"data": DATA, "predictions": VAL / "predictions"}
    with step("crf", inputs, VAL / "crf"):
        write(VAL / "crf", "val_000000.png")
    with step("score", {**inputs, "crf": VAL / "crf"}, VAL / "scores.json"):
        write(VAL, "scores.json")
    with step("table", {"scores": VAL / "scores.json"}, TABLE):
        TABLE.write_text("prediction,images,mIoU\nseg,2,40.100\nseg_ms_crf,2,41.234\n")


def run_train(content: str = "") -> None:
    with step("train", {"data": DATA}, TRAIN):
        write(TRAIN, "checkpoint.safetensors", "losses.csv", content=content)


def write(folder: Path, *names: str, content: str = "") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name} {content}")


@contextmanager
def step(name: str, inputs: Mapping[str, Path], out: Path) -> Iterator[Run]:
    """The run of a step, as its command has it."""
    split = "val" if name in ("infer", "crf", "score") else None
    sys.argv = ["bin/unia", name, "shapes", *(["--split", split] if split else []), "--out", str(out)]
    with running(name, load(PARAMS, SETTINGS), "shapes", inputs, out, split) as run:
        yield run


def traced(factory: pytest.TempPathFactory, folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """A folder with `code`, a repository of one commit, and `work`, where every step has run.

    The test runs in its `work`; the code is taken to be the one in `code`.
    """
    made = shutil.copytree(_made(factory.getbasetemp()), folder / "pipeline")
    patch.setenv("COLUMNS", "200")
    _enter(made, patch)
    return made


@cache
def _made(base: Path) -> Path:
    folder = base / "made"
    (folder / "work").mkdir(parents=True)
    commit(folder / "code", "1\n")
    with pytest.MonkeyPatch.context() as patch:
        _enter(folder, patch)
        run_all()
    return folder


def _enter(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(folder / "work")
    patch.setattr(record, "ROOT", folder / "code")
    patch.setattr(sys, "argv", [])
    patch.setitem(sys.modules, "mlflow", None)
    patch.setenv("UNIA_SET", "\n".join(SETTINGS))
    patch.delenv("RANK", raising=False)
