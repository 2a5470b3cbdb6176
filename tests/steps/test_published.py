"""Published numbers stand beside ours, each with its source, and never among them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from unia.cli import app
from unia.errors import UserError
from unia.steps.published import published

OURS = "prediction,images,mIoU\nseg_ms_crf,1449,71.000\n"
THEIRS = Path(__file__).parents[2] / "docs" / "published.csv"

OTHERS = ("--published", str(THEIRS))


def test_show_puts_published_numbers_of_the_same_split_below(tmp_path: Path) -> None:
    for name in ("voc_val", "shapes_val"):
        (tmp_path / f"{name}.csv").write_text(OURS)
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["show", str(tmp_path / "voc_val.csv"), *OTHERS, "--html", str(page)])
    assert done.exit_code == 0
    for text in (done.stdout, page.read_text()):
        ours, _, theirs = text.partition("Published by others, not computed here")
        assert "71.000" in ours
        assert "74.1" not in ours
        assert "74.1" in theirs
        assert "doi:10.1109/TMM.2025.3613165" in theirs
        assert "73.6" not in theirs  # test
    done = CliRunner().invoke(app, ["show", str(tmp_path / "shapes_val.csv"), *OTHERS])
    assert done.exit_code == 0
    assert "Published" not in done.stdout


def test_a_number_without_its_source_is_refused(tmp_path: Path) -> None:
    theirs, table = tmp_path / "published.csv", tmp_path / "voc_val.csv"
    assert published(theirs, table) == []
    lines = "dataset,split,method,mIoU,source\nvoc,val,UniA,74.1,"
    theirs.write_text(f"{lines}a paper\n", encoding="utf-8-sig")
    assert published(theirs, table)[0]["mIoU"] == "74.1"
    theirs.write_text(f"{lines}\n")
    with pytest.raises(UserError, match=r"published\.csv:2: lacks source"):
        published(theirs, table)


def test_a_table_that_says_two_things_or_is_no_utf8_is_refused(tmp_path: Path) -> None:
    theirs, table = tmp_path / "published.csv", tmp_path / "voc_val.csv"
    lines = "dataset,split,method,mIoU,source,mIoU\nvoc,val,UniA,74.1,a paper,47.1\n"
    theirs.write_text(lines)
    with pytest.raises(UserError, match=r"published\.csv: has more than one column mIoU; keep one"):
        published(theirs, table)
    theirs.write_text(lines, encoding="utf-16")
    with pytest.raises(UserError, match="save it as UTF-8"):
        published(theirs, table)
