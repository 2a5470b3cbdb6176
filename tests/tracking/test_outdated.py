"""A result that was made of other parameters is known by its receipt, where a tool's records are lost."""

import os
from pathlib import Path

import pytest
from pipeline import DATA, PARAMS, RAW, SETTINGS, TABLE, TRAIN, VAL, run_train, step, traced, write

from unia.config import load
from unia.files import atomic
from unia.recipe import Recipe
from unia.tracking.outdated import known_hash, outdated

CHANGED = {
    "download": ("datasets.shapes.data.seed=1", RAW),
    "train": ("small.train.iterations=3", TRAIN / "checkpoint.safetensors"),
    "crf": ("recipe.crf.iterations=3", VAL / "crf"),
}
CHECKPOINT = TRAIN / "checkpoint.safetensors"
MADE_OF = {
    DATA: ("prepare", [RAW]),
    CHECKPOINT: ("train", [DATA]),
    VAL / "predictions": ("infer", [DATA, CHECKPOINT]),
    VAL / "crf": ("crf", [DATA, VAL / "predictions"]),
    TABLE: ("table", [VAL / "scores.json"]),
}


def recipe(*settings: str) -> Recipe:
    return load(PARAMS, (*SETTINGS, *settings)).recipe("shapes")


@pytest.fixture(autouse=True)
def _pipeline(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced(tmp_path_factory, tmp_path, monkeypatch)


@pytest.mark.parametrize("name", CHANGED)
def test_a_receipt_tells_of_other_parameters_of_its_own_step(name: str) -> None:
    setting, output = CHANGED[name]
    assert not outdated(name, recipe(), output, {})
    assert outdated(name, recipe(setting), output, {})
    others = [CHANGED[other][0] for other in CHANGED if other != name]
    assert not outdated(name, recipe(*others), output, {})


def of_others(output: Path) -> bool:
    name, inputs = MADE_OF[output]
    return outdated(name, recipe(), output, {path: known_hash(path) for path in inputs})


def test_a_receipt_tells_of_other_inputs() -> None:
    for file in (RAW, CHECKPOINT, TABLE):
        os.utime(file, (2**32, 2**32))  # Snakemake touches files once they are made
    assert not any(map(of_others, MADE_OF))
    run_train("of another seed")
    assert [output for output in MADE_OF if of_others(output)] == [VAL / "predictions"]


def test_a_folder_that_its_receipt_does_not_tell_of_tells_nothing() -> None:
    """Else a step that used it as it is would be made again for ever."""
    (VAL / "predictions/seg/val_000000.png").unlink()
    assert of_others(VAL / "crf") is False
    with step("crf", {"data": DATA, "predictions": VAL / "predictions"}, VAL / "crf"):
        write(VAL / "crf", "val_000000.png")
    assert of_others(VAL / "crf") is False
    os.utime(next((VAL / "predictions").rglob("*.npz")), (2**32, 2**32))  # brought by DVC, without a receipt
    assert of_others(VAL / "crf") is False


@pytest.mark.parametrize("name", ["train", "crf"])
def test_a_receipt_of_something_else_tells_nothing(name: str) -> None:
    setting, output = CHANGED[name]
    os.utime(output)  # Snakemake touches files once they are made
    assert outdated(name, recipe(setting), output, {})
    file = output if output.is_file() else next(output.iterdir())
    with atomic(file) as temporary:
        temporary.write_text("brought back by DVC")
    os.utime(file, (2**32, 2**32))
    assert not outdated(name, recipe(setting), output, {})
    file.unlink()
    output.with_name(f"{output.name}.run.json").unlink(missing_ok=True)
    assert not outdated(name, recipe(setting), output, {})
