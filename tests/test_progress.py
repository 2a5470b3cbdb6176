"""What is said and tracked reaches the terminal's stream and the log, as plain lines."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from unia.progress import log_to, say, track


def test_lines_reach_stderr_and_the_log_with_times(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "logs" / "step.log"
    with log_to(log):
        say("read [3] images")
    say("after")
    assert capfd.readouterr().err == "read [3] images\nafter\n"
    (line,) = log.read_text().splitlines()
    assert line.endswith(" read [3] images")
    assert len(line.split()[0]) == len("2025-01-31")


def test_track_yields_all_and_says_each_tenth(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with log_to(tmp_path / "log"):
        items = track(range(200), "images")
        found = []
        for i in items:
            found.append(i)
            items.status(f"loss {i}")
    assert found == list(range(200))
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"images: {n}/200" for n in range(20, 201, 20)]
    assert lines[0].endswith("loss 19")
    assert "left" in lines[0]
    assert len((tmp_path / "log").read_text().splitlines()) == 10


def test_track_says_a_line_at_least_every_half_minute(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr("unia.progress.time.monotonic", lambda: next(clock))
    for _ in track(range(100), "long"):
        pass
    counts = [int(line.split()[1].split("/")[0]) for line in capfd.readouterr().err.splitlines()]
    assert max(b - a for a, b in pairwise(counts)) <= 2


def test_track_without_a_length_counts(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(track(iter("abc"), "files")) == ["a", "b", "c"]
    assert capfd.readouterr().err.startswith("files: 3, ")


def test_an_error_in_the_items_is_passed_on() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise KeyError("x")

    with pytest.raises(KeyError):
        list(track(failing(), "items", total=2))


def test_a_log_that_cannot_be_written_costs_one_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with log_to(tmp_path):  # a folder
        say("one")
        say("two")
    warning = f"warning: {tmp_path} is written no further: Is a directory"
    assert capfd.readouterr().err.splitlines() == ["one", warning, "two"]
