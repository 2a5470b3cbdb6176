"""Inference and CRF that were cut off go on after the images they had finished; the result is the same."""

import errno
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from small_split import make_small
from tiny import prepared, recipe

from unia.data.samples import load_split
from unia.errors import UserError
from unia.files import sha256_tree
from unia.model.checkpoint import Header, save_checkpoint
from unia.recipe import Infer
from unia.steps import infer as module
from unia.steps import predictions
from unia.steps.crf import crf
from unia.steps.infer import infer
from unia.steps.part import WHOLE, Part
from unia.steps.predictions import Prediction
from unia.steps.train import start

BATCH = 4
RECIPE = recipe(f"small.infer.batch={BATCH}", "small.infer.scales=[1]")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder with 12 training images, and beside it an untrained checkpoint."""
    data = prepared(tmp_path_factory.mktemp("tiny"))
    split = load_split(data, "train")
    header = Header(RECIPE.model, split.classes, "shapes", 0, RECIPE.train.crop, None)
    save_checkpoint(start(RECIPE, split, None), header, data.parent / "checkpoint.safetensors")
    return data


def run_infer(data: Path, out: Path, config: Infer = RECIPE.infer, part: Part = WHOLE) -> None:
    infer(RECIPE.pseudo_label, config, data, "train", data.parent / "checkpoint.safetensors", out, part)


def cut_off(data: Path, out: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Infer on a disk that is full after so many images; the error names the output."""
    written, write = count(), module._write

    def full(folder: Path, prediction: Prediction) -> None:
        if next(written) >= after:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(folder, prediction)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_write", full)
        with pytest.raises(OSError, match="No space left") as caught:
            run_infer(data, out)
    assert caught.value.filename == str(out)
    assert not out.exists()


def predicted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that are predicted from now on."""
    names: list[str] = []
    predict = predictions._predict

    def noted(*arguments: object) -> list[Prediction]:
        found = predict(*arguments)  # type: ignore[arg-type]
        names.extend(one.name for one in found)
        return found

    monkeypatch.setattr(predictions, "_predict", noted)
    return names


@pytest.mark.parametrize(("after", "left"), [(0, 12), (4, 8), (6, 8), (11, 4), (12, 0)])
def test_infer_goes_on_after_whole_batches(
    after: int, left: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_infer(data, tmp_path / "undisturbed")
    out = tmp_path / "out"
    if after < 12:
        cut_off(data, out, monkeypatch, after)
    else:  # killed after the last image, before the folder got its name
        run_infer(data, out)
        cut_off(data, tmp_path / "other", monkeypatch, 1)
        (unfinished,) = tmp_path.glob(".other.*.partial")
        out.rename(tmp_path / unfinished.name.replace("other", "out"))
    names = predicted(monkeypatch)
    run_infer(data, out)
    assert len(names) == left
    assert sha256_tree(out) == sha256_tree(tmp_path / "undisturbed")
    assert not list(tmp_path.glob(".out*"))


def test_infer_of_other_settings_begins_anew(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(data, tmp_path / "out", monkeypatch, 8)
    names = predicted(monkeypatch)
    run_infer(data, tmp_path / "out", RECIPE.infer.model_copy(update={"scales": (1, 1.5)}))
    assert len(names) == 12
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_crf_goes_on_after_the_images_that_are_done(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An image that cannot be read stops it; once that is mended, only what is missing is computed."""
    small = make_small(tmp_path)
    data, out = small.data, tmp_path / "out"
    make_logits(small.predictions / "logits", small.names)
    crf(RECIPE.crf, data, "val", small.predictions, tmp_path / "undisturbed")
    victim = data / f"{small.names[-1]}.jpg"
    sound = victim.read_bytes()
    victim.write_bytes(b"no image")
    with pytest.raises(UserError, match=victim.name):
        crf(RECIPE.crf, data, "val", small.predictions, out)
    assert not out.exists()
    (unfinished,) = tmp_path.glob(".out.*.partial")
    times = {path.name: path.stat().st_mtime_ns for path in unfinished.iterdir()}
    assert len(times) > 0
    victim.write_bytes(sound)
    crf(RECIPE.crf, data, "val", small.predictions, out)
    assert f"goes on after {len(times)} images" in capfd.readouterr().err
    assert sha256_tree(out) == sha256_tree(tmp_path / "undisturbed")
    for name, time in times.items():
        assert (out / name).stat().st_mtime_ns == time
    assert not list(tmp_path.glob(".out*"))


def test_the_crf_of_other_logits_begins_anew(tmp_path: Path) -> None:
    small = make_small(tmp_path)
    logits, out = small.predictions / "logits", tmp_path / "out"
    make_logits(logits, small.names)
    crf(RECIPE.crf, small.data, "val", small.predictions, out, Part(1, 2))
    (before,) = tmp_path.glob(".out.*.partial")
    for path in logits.iterdir():
        with np.load(path) as stored:
            np.savez(path, **{name: -stored[name] for name in stored.files})
    crf(RECIPE.crf, small.data, "val", small.predictions, tmp_path / "undisturbed")
    crf(RECIPE.crf, small.data, "val", small.predictions, out)
    assert not before.exists()
    assert sha256_tree(out) == sha256_tree(tmp_path / "undisturbed")


@pytest.mark.parametrize("count", [2, 5])
def test_parts_together_are_the_whole(
    count: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image is computed once, by one of the parts; a part that is repeated computes nothing."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    run_infer(data, whole)
    names = predicted(monkeypatch)
    for number in [*range(1, count + 1), 1]:
        run_infer(data, out, part=Part(number, count))
        assert not out.exists()
    assert len(names) == len(set(names)) == 12
    run_infer(data, out)
    assert len(names) == 12
    assert sha256_tree(out) == sha256_tree(whole)

    crf(RECIPE.crf, data, "train", whole, tmp_path / "crf")
    for number in range(1, count + 1):
        crf(RECIPE.crf, data, "train", whole, tmp_path / "parts", Part(number, count))
        assert not (tmp_path / "parts").exists()
    (unfinished,) = tmp_path.glob(".parts.*.partial")
    times = {path.name: path.stat().st_mtime_ns for path in unfinished.iterdir()}
    assert len(times) == 12
    crf(RECIPE.crf, data, "train", whole, tmp_path / "parts")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()} == times
    assert sha256_tree(tmp_path / "parts") == sha256_tree(tmp_path / "crf")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    "text", ["", "2", "0-of-2", "3-of-2", "1-of-0", "-1-of-2", "1-of-2 ", "1/2", "\u0661-of-2"]
)
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is no part; write 1-of-4"):
        Part.read(text)


def make_logits(folder: Path, names: tuple[str, ...]) -> None:
    """Random logits of 4 classes at one scale."""
    rng = np.random.default_rng(5)
    folder.mkdir()
    for name in names:
        np.savez(folder / f"{name}.npz", rng.normal(size=(4, 6, 6)).astype(np.float16) * 3)
