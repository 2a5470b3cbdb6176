"""What goes wrong while training is one line with the sample, the loss or the parameter it is about."""

import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import prepared, recipe, run
from torch import Tensor

from unia.data.samples import load_split
from unia.data.stream import SampleStream
from unia.errors import UserError
from unia.losses import table
from unia.training.nan_guard import LIMIT, NaNGuard
from unia.training.objective import Objective
from unia.training.processes import Processes

NAN = float("nan")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("tiny"))


def message(data: Path, out: Path, *settings: str) -> str:
    with pytest.raises(UserError) as error:
        run(data, out, *settings)
    text = str(error.value)
    assert "\n" not in text
    assert not out.exists()
    return text


@pytest.mark.parametrize("value", [NAN, float("inf"), 10 * LIMIT])
def test_divergence_names_iteration_loss_samples_and_the_last_good_state(
    value: float, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classification loss breaks at the fifth of the steps; losses are read at the sixth."""
    calls = 0

    def broken(logits: Tensor, labels: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return logits.sum() * 0 + (value if calls in (9, 10) else 1)  # twice a step: auxiliary too

    monkeypatch.setattr(table, "classification", broken)
    text = message(data, tmp_path / "train")
    stream = SampleStream(load_split(data, "train"), recipe().train)
    names = ", ".join(stream.sample(position).name for position in range(16, 20))
    assert "classification, classification_aux is not a number, or beyond 10000, at iteration 5," in text
    assert f"on the samples {names};" in text
    assert re.search(r"the last good state is of iteration 3, in \S+/train\.state/\w+/00000003\.saf", text)
    assert "lower train.lr" in text


def test_watch_remembers_the_first_iteration_of_each_loss() -> None:
    watch = NaNGuard(Processes(torch.device("cpu")))
    fine, bad = torch.tensor(1.0), torch.tensor(NAN)
    watch.see(0, {"ptc": fine, "loss": fine})
    assert watch.broken() is None
    watch.see(1, {"ptc": fine, "energy": -bad, "loss": bad})
    watch.see(2, {"ptc": bad, "energy": bad, "loss": bad})
    watch.see(3, {"ptc": fine, "loss": fine})
    assert watch.broken() == (1, ["energy"])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than the machine has cores
@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_named(workers: int, data: Path, tmp_path: Path) -> None:
    copy, name = broken_copy(data, tmp_path)
    text = message(copy, tmp_path / "train", f"small.train.workers={workers}")
    assert text.startswith(f"sample {name}: ")
    assert text.endswith("replace the file")
    assert "no readable image" in text


def broken_copy(data: Path, folder: Path) -> tuple[Path, str]:
    """A copy of the prepared data whose third sample is no image, and its name."""
    copy = folder / "data"
    shutil.copytree(data, copy)
    split = load_split(data, "train")
    victim = split.samples[2]
    bad = folder / "bad.png"
    bad.write_bytes(victim.image.read_bytes()[:100])
    table = (copy / "train.csv").read_text()
    (copy / "train.csv").write_text(table.replace(f"{victim.image.as_posix()},", f"{bad.as_posix()},"))
    return copy, victim.name


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_a_worker_that_dies_is_reported_with_its_sample(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = load_split(data, "train").samples[5].name
    crop = SampleStream._crop

    def deadly(stream: SampleStream, sample: Any, position: int) -> tuple[Tensor, ...]:
        if sample.name == name:
            os.kill(os.getpid(), signal.SIGKILL)
        return crop(stream, sample, position)

    monkeypatch.setattr(SampleStream, "_crop", deadly)
    text = message(data, tmp_path / "train", "small.train.workers=2")
    assert text.startswith(f"a process that reads images died (last at sample {name})")
    assert "train.workers" in text


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: ..."),
    ],
)
def test_want_of_memory_names_the_parameters(
    error: Exception, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Objective, "__call__", greedy)
    text = message(data, tmp_path / "train")
    assert text.startswith("out of memory (")
    assert "raise train.accumulate (now 1 parts of 4 images), or lower train.batch or train.crop" in text


def test_a_full_disk_stops_training_and_the_state_before_stays(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(data, tmp_path / "other")
    write, count = Path.write_bytes, 0

    def full(path: Path, content: bytes) -> int:
        nonlocal count
        count += ".safetensors" in path.name
        if count == 2:
            write(path, content[:1000])
            raise OSError(28, "No space left on device", str(path))
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        text = message(data, tmp_path / "train")
    assert "the state of iteration 6 cannot be written (No space left on device)" in text
    left = [path.name for path in tmp_path.glob("train.state/*/*")]
    assert left == ["00000003.safetensors"]
    assert run(data, tmp_path / "train") == whole


def test_a_full_disk_at_the_end_keeps_the_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("unia.steps.train.save_checkpoint", full)
        text = message(data, tmp_path / "train")
    assert text.endswith(
        "train: cannot be written (No space left on device); mend that and run the step again: "
        "the training itself is done, and kept"
    )
    run(data, tmp_path / "train")
    assert "train: was done before" in capfd.readouterr().err
