"""Every step where it cannot write, as the command line runs it: one line, nothing half-written."""

import sys
from pathlib import Path

import pytest
from project import ROOT, TINY
from small_disk import another_user, filled, read_only, small_disks, visible

from unia.cli import main

VAL = "results/shapes/val"
MODEL = "results/shapes/train/checkpoint.safetensors"
PREDICTED = f"--predictions {VAL}/predictions"
STEPS = (  # (command, bytes that are left when it starts)
    ("download shapes --out data/raw/shapes.json", 16_384),
    ("prepare shapes --raw data/raw/shapes.json --out data/shapes", 8_192),
    ("train shapes --data data/shapes --out results/shapes/train", 100_000),
    (f"infer shapes --split val --data data/shapes --checkpoint {MODEL} --out {VAL}/predictions", 8_192),
    (f"crf shapes --split val --data data/shapes {PREDICTED} --out {VAL}/crf", 4_096),
    (
        f"score shapes --split val --data data/shapes {PREDICTED} --crf {VAL}/crf"
        f" --out {VAL}/scores.json --images {VAL}/images.csv",
        0,
    ),
    (
        f"figures shapes --split val --data data/shapes --checkpoint {MODEL} {PREDICTED} --crf {VAL}/crf"
        f" --scores {VAL}/scores.json --images {VAL}/images.csv --losses results/shapes/train/losses.csv"
        f" --out {VAL}/figures",
        32_768,
    ),
    (f"table shapes --scores {VAL}/scores.json --out results/t.csv --metrics results/t.json", 0),
)


@pytest.mark.slow
def test_every_step_fails_in_one_line_and_goes_on_once_it_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    monkeypatch.setenv("UNIA_SET", "\n".join(TINY))
    monkeypatch.setitem(sys.modules, "mlflow", None)  # which takes seconds, and is tested elsewhere

    def unia(command: str) -> int:
        monkeypatch.setattr(sys, "argv", ["unia", *command.split(), "--params", str(ROOT / "params.yaml")])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    told = []
    with small_disks(tmp_path / "data", tmp_path / "results"):
        for command, left in STEPS:
            disk = Path(command.partition("--out ")[2].partition("/")[0])
            before = visible(disk)
            for trouble, reason in (
                (filled(disk, left), "No space left on device"),
                (read_only(disk), "Read-only file system"),
                (another_user(), "Permission denied"),
            ):
                capfd.readouterr()
                with trouble:
                    code = unia(command)
                said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("unia: ")]
                told += said
                assert code == 1, command
                assert len(said) == 1
                assert said[0].startswith(f"unia: {disk}/")
                assert reason in said[0]
                assert visible(disk) == before
            assert unia(command) == 0
        assert not [path for disk in ("data", "results") for path in Path(disk).rglob(".*")]
    print(*told, sep="\n")
