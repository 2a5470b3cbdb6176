"""A training that was stopped goes on as if it had not been; a changed one starts anew."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from safetensors.torch import save_file
from started import SHARED, in_terminal, saved, wait_for
from tiny import prepared, recipe, run

from unia.errors import UserError
from unia.files import remove
from unia.model.network import build
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


@pytest.fixture(params=[signal.SIG_DFL])
def at_hang_up(request: pytest.FixtureRequest) -> Iterator[None]:
    """What SIGHUP does to this process: the default, or nothing, as `nohup` has it."""
    before = signal.signal(signal.SIGHUP, request.param)
    yield
    signal.signal(signal.SIGHUP, before)


def fail_at(when: int) -> Callable[[int, Row], None]:
    """An error in the middle of training, with nothing saved of the iteration."""

    def fail(iteration: int, values: Row) -> None:
        if iteration == when:
            raise OSError("planted")

    return fail


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.usefixtures("at_hang_up")
def test_a_signal_saves_and_the_next_run_goes_on(
    number: int, data: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Asked at iteration 4, where no state is due: the step's end sees it, one iteration later."""
    out = tmp_path / "train"
    with pytest.raises(Stopped) as stopped:
        run(data, out, at=signal_at(4, number))
    assert stopped.value.code == 128 + number
    assert not out.exists()
    seen: list[int] = []
    assert run(data, out, at=lambda iteration, values: seen.append(iteration)) == undisturbed
    assert seen == [2, 4, 6, 8, 10, 12]  # the rows logged before are there again


@pytest.mark.slow
@pytest.mark.usefixtures("at_hang_up")
def test_a_lost_terminal_is_a_signal_and_no_error(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "train"
    training, terminal = in_terminal(data, out, *SHARED)
    wait_for(out, 2, training)
    os.close(terminal)  # as a broken connection does: what is written to it from here on is an error
    assert training.wait(timeout=600) == 128 + signal.SIGHUP
    assert saved(out) < 20


@pytest.mark.parametrize("at_hang_up", [signal.SIG_IGN], indirect=True)
@pytest.mark.usefixtures("at_hang_up")
def test_nohup_goes_on(data: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    assert run(data, tmp_path / "train", at=signal_at(4, signal.SIGHUP)) == undisturbed


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


def test_a_finished_training_is_found_done_till_another_one_is(
    data: Path, undisturbed: dict[str, bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Snakemake and DVC delete the checkpoint before the next training, which may fail at its start."""
    out, other = tmp_path / "train", "small.train.lr=2.0e-3"

    def steps(*settings: str) -> bool:
        """Train without a checkpoint lying there; whether a step was made."""
        remove(out)
        capfd.readouterr()
        files = run(data, out, *settings)
        assert (files == undisturbed) == (settings == ())
        return "was done before" not in capfd.readouterr().err

    assert steps()
    size = sum(file.stat().st_size for file in tmp_path.rglob("train.state/*/*"))
    assert size < 1.5 * (out / "checkpoint.safetensors").stat().st_size
    remove(out)
    with pytest.raises(UserError):
        run(data, out, other, f"small.model.weights={tmp_path / 'mistyped.pth'}")
    with pytest.raises(OSError, match="planted"):
        run(data, out, other, at=fail_at(4))
    assert not steps()
    assert steps(other)
    assert not steps(other)
    assert steps()


def test_weights_that_changed_under_their_name_start_anew(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, weights = tmp_path / "train", tmp_path / "vit.safetensors"
    backbone = build(recipe().model, 6, pretrained=False).backbone.vit.state_dict()
    files = []
    for scale in (1.0, 0.5):
        save_file({name: scale * value for name, value in backbone.items()}, weights)
        files.append(run(data, out, f"small.model.weights={weights}"))
    assert files[0] != files[1]


def test_what_others_keep_beside_a_training_stays(data: Path, tmp_path: Path) -> None:
    notes = tmp_path / "train.state" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    run(data, tmp_path / "train")
    assert notes.read_text() == "mine"
