"""A result that was made of other parameters is known by its receipt, where a tool's records are lost."""

import os
from pathlib import Path

import pytest
from pipeline import DATA, PARAMS, RAW, SETTINGS, TRAIN, VAL, run_train, traced

from unia.config import load
from unia.files import atomic
from unia.recipe import Recipe
from unia.tracking.outdated import outdated

CHANGED = {
    "download": ("datasets.shapes.data.seed=1", RAW),
    "train": ("small.train.iterations=3", TRAIN / "checkpoint.safetensors"),
    "crf": ("recipe.crf.iterations=3", VAL / "crf"),
}
STEP_OF = {TRAIN / "checkpoint.safetensors": "train", VAL / "predictions": "infer", VAL / "crf": "crf"}


def recipe(*settings: str) -> Recipe:
    return load(PARAMS, (*SETTINGS, *settings)).recipe("shapes")


@pytest.fixture(autouse=True)
def _pipeline(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced(tmp_path_factory, tmp_path, monkeypatch)


@pytest.mark.parametrize("step", CHANGED)
def test_a_receipt_tells_of_other_parameters_of_its_own_step(step: str) -> None:
    setting, output = CHANGED[step]
    assert not outdated(step, recipe(), output)
    assert outdated(step, recipe(setting), output)
    others = [CHANGED[other][0] for other in CHANGED if other != step]
    assert not outdated(step, recipe(*others), output)


def test_a_receipt_tells_of_other_inputs() -> None:
    train, predictions = TRAIN / "checkpoint.safetensors", VAL / "predictions"
    for output, inputs in ((train, [DATA]), (predictions, [DATA, train]), (VAL / "crf", [DATA, predictions])):
        assert not outdated(STEP_OF[output], recipe(), output, inputs)
    run_train("of another seed")
    assert not outdated("train", recipe(), train, [DATA])
    assert outdated("infer", recipe(), predictions, [DATA, train])
    os.utime(train, (2**32, 2**32))  # brought by DVC: the receipt may be of another
    assert not outdated("infer", recipe(), predictions, [DATA, train])


@pytest.mark.parametrize("step", ["train", "crf"])
def test_a_receipt_of_something_else_tells_nothing(step: str) -> None:
    setting, output = CHANGED[step]
    os.utime(output)  # Snakemake touches files once they are made
    assert outdated(step, recipe(setting), output)
    file = output if output.is_file() else next(output.iterdir())
    with atomic(file) as temporary:
        temporary.write_text("brought back by DVC")
    os.utime(file, (2**32, 2**32))
    assert not outdated(step, recipe(setting), output)
    file.unlink()
    output.with_name(f"{output.name}.run.json").unlink(missing_ok=True)
    assert not outdated(step, recipe(setting), output)
