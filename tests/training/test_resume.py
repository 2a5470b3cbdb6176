"""A training that was stopped goes on as if it had not been; a changed one starts anew."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tiny import prepared, run

from unia.training.state import KEEP
from unia.training.stop import Stopped

Row = Mapping[str, float]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return run(data, tmp_path_factory.mktemp("undisturbed") / "train")


def signal_at(when: int, number: int = signal.SIGTERM) -> Callable[[int, Row], None]:
    def send(iteration: int, values: Row) -> None:
        if iteration == when:
            os.kill(os.getpid(), number)

    return send


def fail_at(when: int) -> Callable[[int, Row], None]:
    """An error in the middle of training, with nothing saved of the iteration."""

    def fail(iteration: int, values: Row) -> None:
        if iteration == when:
            raise OSError("planted")

    return fail


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_next_run_goes_on(
    number: int, code: int, data: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Asked at iteration 4, where no state is due: the step's end sees it, one iteration later."""
    out = tmp_path / "train"
    with pytest.raises(Stopped) as stopped:
        run(data, out, at=signal_at(4, number))
    assert stopped.value.code == code
    assert not out.exists()
    seen: list[int] = []
    assert run(data, out, at=lambda iteration, values: seen.append(iteration)) == undisturbed
    assert seen == [2, 4, 6, 8, 10, 12]  # the rows logged before are there again
    assert not out.with_name("train.state").exists()


@pytest.mark.parametrize("when", [2, 4, 8, 12])
def test_a_failure_loses_only_what_followed_the_last_state(
    when: int, data: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "train"
    with pytest.raises(OSError, match="planted"):
        run(data, out, at=fail_at(when))
    assert run(data, out) == undisturbed


def test_the_sampled_loss_goes_on_too(data: Path, undisturbed: dict[str, bytes]) -> None:
    """The comparison covers what draws: with another seed the curve is another one."""
    header, *rows = undisturbed["losses.csv"].decode().splitlines()
    assert all(row.split(",")[header.split(",").index("distribution")] for row in rows)


def test_a_torn_state_is_passed_over_for_the_one_before(
    data: Path, undisturbed: dict[str, bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "train"
    with pytest.raises(OSError, match="planted"):
        run(data, out, at=fail_at(10))
    states = sorted(tmp_path.glob("train.state/*/*.safetensors"))
    assert [path.stem for path in states] == ["00000006", "00000009"]
    assert len(states) == KEEP
    states[-1].write_bytes(states[-1].read_bytes()[:-1000])
    assert run(data, out) == undisturbed
    assert "goes on from iteration 6" in capfd.readouterr().err


def test_workers_and_how_often_to_save_may_change(
    data: Path, undisturbed: dict[str, bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "train"
    with pytest.raises(Stopped):
        run(data, out, at=signal_at(4))
    assert run(data, out, "small.train.save_every=5", "small.train.workers=1") == undisturbed
    assert "goes on from iteration 5" in capfd.readouterr().err


def test_other_parameters_start_anew_and_the_old_state_is_kept(
    data: Path, undisturbed: dict[str, bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "train"
    with pytest.raises(Stopped):
        run(data, out, at=signal_at(6))
    with pytest.raises(Stopped):
        run(data, out, "small.train.lr=2.0e-3", at=signal_at(2))
    assert "holds a state of other parameters; training starts anew" in capfd.readouterr().err
    assert run(data, out) == undisturbed
    assert "goes on from iteration 7" in capfd.readouterr().err


def test_other_data_starts_anew(data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "data"
    copy.mkdir()
    for name in ("dataset.json", "train.csv"):
        (copy / name).write_bytes((data / name).read_bytes())
    out = tmp_path / "train"
    with pytest.raises(Stopped):
        run(copy, out, at=signal_at(2))
    lines = (copy / "train.csv").read_text().splitlines(keepends=True)
    (copy / "train.csv").write_text("".join(lines[:-1]))
    run(copy, out)
    assert "holds a state of other data; training starts anew" in capfd.readouterr().err
