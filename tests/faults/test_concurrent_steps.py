"""Eight steps at once into one fresh store of MLflow, three times; two runs of one step at once."""

from pathlib import Path

import pytest
from started import SHARED, command, finish, wait_for
from tiny import files, prepared
from writers import write_at_once

pytestmark = [pytest.mark.slow, pytest.mark.faults]


@pytest.mark.parametrize("time", [1, 2, 3])
def test_eight_steps_into_a_fresh_store_lose_no_run(
    time: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_at_once(tmp_path, 8)


def test_a_second_training_of_the_same_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    data, out = prepared(tmp_path / "tiny"), tmp_path / "train"
    first = command(data, out, *SHARED, "small.train.iterations=400", "small.train.save_every=1")
    wait_for(out, 1, first)
    second = command(data, out, *SHARED)
    said = finish(second)
    assert first.poll() is None
    assert second.returncode == 1
    assert f"unia: {out}: another run is writing it; wait for its end" in said.splitlines()
    assert "Traceback" not in said
    said = finish(first)
    assert first.returncode == 0, said
    assert set(files(out)) == {"checkpoint.safetensors", "losses.csv"}
    assert not list(tmp_path.glob(".train.*"))
