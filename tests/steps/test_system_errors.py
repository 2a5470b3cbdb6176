"""What the system refuses is one line: the file, the reason, what to do. Steps that can go on do."""

import errno
import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from program import unia
from project import ROOT
from small_disk import another_user
from smallest import NETWORK

from unia.config import load
from unia.data.samples import load_split, write_label
from unia.model.checkpoint import Header, save_checkpoint
from unia.model.network import build

LONG = "x" * 236  # with .png, 240 bytes
SETTINGS = (
    *NETWORK,
    "small.train.batch=2",
    "small.train.iterations=2",
    "small.train.workers=2",
    "datasets.roses={data: {kind: images, source: own, classes: [rose]}, "
    "model: {}, pseudo_label: {}, losses: {}, train: {}, infer: {}, crf: {}}",
)
CHECKPOINT = Path("checkpoint.safetensors")
PREPARE = ("prepare", "roses", "--raw", "data/raw/roses.json", "--out", "data/roses")
PREDICT = ("predict", "own", "--checkpoint", str(CHECKPOINT), "--out", "out")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that any user may reach, with three images of our own (two of long names) and a checkpoint."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    monkeypatch.chdir(made)
    monkeypatch.setitem(sys.modules, "mlflow", None)  # which takes seconds, and is tested elsewhere
    Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    rows = ["image,split,labels,mask"]
    for name, split in ((LONG, "train"), (f"{'deep' * 40}/{LONG[:-1]}", "val"), ("short", "val")):
        path = Path("own", f"{name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((32, 32, 3), 99, np.uint8)).save(path)
        write_label(Path("own/mask.png"), np.ones((32, 32), np.uint8))
        rows.append(f"{name}.png,{split},rose,{'mask.png' if split == 'val' else ''}")
    Path("own/labels.csv").write_text("\n".join(rows))
    model = load(Path("params.yaml"), SETTINGS).recipe("roses").model
    torch.manual_seed(0)
    save_checkpoint(build(model, 1), Header(model, ("rose",), "roses", 1, 32, None), CHECKPOINT)
    yield made
    shutil.rmtree(made)


def run(*command: str, code: int = 0) -> str:
    return unia(Path(), *command, code=code, environment={"UNIA_SET": "\n".join(SETTINGS)})


def refused(*command: str) -> str:
    """The one line that a command ends with."""
    said = run(*command, code=1)
    last = said.splitlines()[-1]
    assert last.startswith("unia: ")
    assert "fault of unia" not in said
    assert "Traceback" not in said
    return last


def prepared() -> None:
    run("download", "roses", "--out", "data/raw/roses.json")
    run(*PREPARE)


@pytest.mark.slow
def test_long_names_go_through_all_steps() -> None:
    prepared()
    data = ("--split", "val", "--data", "data/roses")
    run("infer", "roses", *data, "--checkpoint", str(CHECKPOINT), "--out", "predictions")
    run("crf", "roses", *data, "--predictions", "predictions", "--out", "crf")
    for sample in load_split(Path("data/roses"), "val").samples:
        assert Path("crf", f"{sample.name}.png").is_file()
    run(*PREDICT)
    entries = json.loads(Path("out/predictions.json").read_text())["images"]
    assert len(entries) == 4  # with the mask
    for entry in entries:
        assert Path("out/masks", f"{entry['name']}.png").is_file()


def test_a_file_that_may_not_be_read_is_said_so_and_the_others_are_done() -> None:
    prepared()  # what a step imports is read as root
    run(*PREDICT)
    shutil.rmtree("out")
    shutil.rmtree("data/roses")
    for path in Path().rglob("*"):
        os.chown(path, *((-1, -1) if os.geteuid() else (65534, 65534)))
    hidden = Path("own/short.png")
    hidden.chmod(0)
    Path().chmod(0o777)
    with another_user():
        told = refused(*PREPARE)
        assert f"{hidden}: Permission denied; ask its owner" in told
        assert "1 problem" in told
        told = refused(*PREDICT)
        assert f"1 of 4 images could not be read, the others are in out: {hidden}" in told
        CHECKPOINT.chmod(0)
        told = refused(*PREDICT)
        assert told.startswith(f"unia: {CHECKPOINT}: Permission denied; ask its owner")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_costs_a_warning(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    said = run("download", "roses", "--out", "data/raw/roses.json")
    warned = f"warning: data/raw/roses.json: {os.strerror(number)} on its file system; take care"
    assert said.count(warned) == 1
    assert Path("data/raw/roses.json").is_file()


def test_too_many_open_files_are_no_broken_file() -> None:
    prepared()
    with few_files():
        told = refused(*PREPARE)
    assert "Too many open files; allow more (`ulimit -n 4096`)" in told


@contextmanager
def few_files() -> Iterator[None]:
    """Meanwhile a single further file can be open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path("own/labels.csv").open() as file:
        resource.setrlimit(resource.RLIMIT_NOFILE, (file.fileno() + 1, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.slow
def test_a_tiny_shared_memory_is_named() -> None:
    prepared()
    command = [sys.executable, "-m", "unia", "train", "roses", "--data", "data/roses", "--out", "train"]
    small = 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$@"'
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted; try unshare -rm")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", small, "sh", *command],
        env={**os.environ, "UNIA_SET": "\n".join((*SETTINGS, "small.train.crop=64"))},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 1
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("unia: ")]
    assert "/dev/shm, is too small" in told
    assert "train.workers: 0" in told
