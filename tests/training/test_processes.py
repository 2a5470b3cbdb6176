"""Several processes compute what one does, and fail with one voice: through the command."""

import csv
from pathlib import Path

import pytest
from started import SHARED, command, finish
from test_faults import broken_copy
from tiny import files, prepared

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes, computing the two parts of each batch in turn."""
    out = tmp_path_factory.mktemp("alone") / "train"
    process = command(data, out, *SHARED)
    said = finish(process)
    assert process.returncode == 0, said
    return files(out)


def test_two_processes_train_as_one_in_two_parts(data: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    process = command(data, tmp_path / "train", *SHARED, processes=2)
    said = finish(process)
    assert process.returncode == 0, said
    assert said.count("train shapes: ") == 1
    together = rows(files(tmp_path / "train"))
    expected = rows(alone)
    assert len(expected) == len(together) == 20
    largest = max(
        abs(float(one[name]) - float(other[name]))
        for one, other in zip(expected, together, strict=True)
        for name in one
        if one[name]
    )
    print(f"losses of 20 iterations: largest difference {largest:.1e}")
    assert largest < 1e-5


def test_a_failure_of_one_process_is_one_line_and_ends_all(data: Path, tmp_path: Path) -> None:
    copy, name = broken_copy(data, tmp_path)
    process = command(copy, tmp_path / "train", *SHARED, processes=2)
    said = finish(process)
    assert process.returncode == 1
    assert said.count("unia: ") == 1
    assert f"unia: sample {name}: " in said
    assert "Traceback" not in said


def test_parts_that_cannot_be_shared_are_refused(data: Path, tmp_path: Path) -> None:
    process = command(data, tmp_path / "train", processes=2)
    said = finish(process)
    assert process.returncode == 1
    assert "unia: train.accumulate: 1 parts of a batch cannot be shared by 2 processes" in said


def rows(written: dict[str, bytes]) -> list[dict[str, str]]:
    return list(csv.DictReader(written["losses.csv"].decode().splitlines()))
