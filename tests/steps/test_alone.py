"""A second run with the same output is refused by every step, before it does anything."""

from pathlib import Path

import pytest

from unia.cli import app
from unia.errors import UserError
from unia.files import alone

ROOT = Path(__file__).parents[2]
STEPS = (
    "download shapes --out OUT",
    "prepare shapes --raw raw.json --out OUT",
    "train shapes --data data --out OUT",
    "infer shapes --data data --split val --checkpoint x --out OUT",
    "crf shapes --data data --split val --predictions x --out OUT",
    "score shapes --data data --split val --predictions x --crf x --out OUT --images y",
    "table shapes --scores x --out OUT --metrics y",
    "predict x.png --checkpoint x --out OUT",
)


@pytest.mark.parametrize("step", STEPS)
def test_a_second_run_is_refused(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RANK", raising=False)
    params = () if step.startswith("predict") else ("--params", str(ROOT / "params.yaml"))
    arguments = [*step.split(), *params]
    with alone(Path("OUT")), pytest.raises(UserError) as refused:
        app(arguments, standalone_mode=False)
    assert str(refused.value) == "OUT: another run is writing it; wait for its end"
    assert not list(tmp_path.iterdir())
