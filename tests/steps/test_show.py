"""Printed tables: no name and no number is cut, whatever the window."""

import csv
import io
import re
import sys
from html import unescape
from pathlib import Path

import pytest
from pipeline import TABLE, traced
from program import unia

from unia.commands.screen import print_table, screen
from unia.errors import UserError

ROWS = (
    "cam",
    "cam_aux",
    "affinity",
    "mutual",
    "seg",
    "seg_ms",
    "seg_ms_crf",
    "all_background",
    "all_RV",
    "all_[b]",
)
NAMES = ("images", "labels", "mIoU", "IoU left ventricle of the heart, and its wall", "IoU \u5fc3\u81d3")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Ten rows, of which no two cells are alike."""
    path = tmp_path / f"{'a_long_name_of_a_folder' * 4}_val.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("prediction", *NAMES))
        for number, row in enumerate(ROWS):
            protocol = f"tiles of {number + 64} px every 32"
            writer.writerow((row, 1000 + number, protocol, *(f"{10 * number + k}.{k}57" for k in range(3))))
    return path


def whole(text: str, path: Path) -> bool:
    """Is every name and every number of the table in the text?"""
    with path.open(newline="", encoding="utf-8") as file:
        return all(cell in text for row in csv.reader(file) for cell in row) and str(path) in text


def test_a_pipe_and_a_page_hold_the_table_in_one_piece(table: Path, tmp_path: Path) -> None:
    said = unia(tmp_path, "show", str(table), "--html", "page.html", environment={"COLUMNS": "80"})
    assert whole(said, table)
    page = unescape(re.sub("<[^>]+>", "", (tmp_path / "page.html").read_text(encoding="utf-8")))
    assert whole(page, table)
    for text in (said, page):
        (line,) = (line for line in text.splitlines() if line.strip().startswith("mIoU"))
        assert line.split() == ["mIoU", *(f"{10 * number}.057" for number in range(len(ROWS)))]


@pytest.mark.parametrize("columns", ["30", "80", "120", "1000"])
def test_a_terminal_gets_blocks_that_fit(columns: str, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    print_table(table, screen())
    text = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue())
    assert whole(text, table)
    head, *lines = text.splitlines()
    assert head == str(table)
    longest = max(len(line.rstrip()) for line in lines)
    one_kind = len(NAMES[3]) + len("tiles of 64 px every 32") + 4
    assert longest <= max(int(columns), one_kind)
    blocks = sum(line.strip().startswith("mIoU") for line in lines)
    assert (blocks == 1) == (columns == "1000")


def test_a_trace_in_a_pipe_keeps_its_paths_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)  # takes seconds
    out = f"{'deep/' * 30}raw.json"
    settings = ("--set", "datasets.shapes.data={kind: shapes, size: 32, train: 2, val: 2, seed: 0}")
    (tmp_path / "params.yaml").write_bytes((Path(__file__).parents[2] / "params.yaml").read_bytes())
    unia(tmp_path, "download", "shapes", "--out", out, *settings)
    assert out in unia(tmp_path, "trace", out, environment={"COLUMNS": "80"})


@pytest.mark.parametrize("text", ["", "prediction,mIoU\ncam\n", "\xff"])
def test_what_is_no_table_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"odd\.csv: is no table"):
        print_table(path, screen())


def test_what_a_receipt_says_against_a_table_stands_above_its_numbers(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = traced(tmp_path_factory, tmp_path, monkeypatch) / "work"
    first = unia(folder, "show", str(TABLE), "--html", "page.html")
    for text in (first, (folder / "page.html").read_text(encoding="utf-8")):
        assert "a trial (size: small), not to be compared with published numbers" in text
        assert "warning" not in text
    TABLE.write_text(TABLE.read_text().replace("41.234", "91.234"))
    assert "\nwarning: is not what its receipt tells of" in unia(folder, "show", str(TABLE))
    receipt = TABLE.with_name(f"{TABLE.name}.run.json")
    receipt.write_text(receipt.read_text().replace("small", "full"))
    assert "warning: nothing is known of these numbers: " in unia(folder, "show", str(TABLE))
    receipt.unlink()
    assert "warning" not in unia(folder, "show", str(TABLE))
