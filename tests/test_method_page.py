"""docs/method.md: every function that it names is there, and every section that the code cites."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/method.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(unia/[\w/]+)\.py:(\w+)`", PAGE)))
CITATION = re.compile(r"[Mm]ethod sections? ([\d, toand]*\d)")


def test_it_names_the_parts() -> None:
    assert len(NAMED) > 30
    assert len(NAMED) == len(set(re.findall(r"`(unia/[^`]*)`", PAGE)))  # none of another form


@pytest.mark.parametrize(("module", "name"), NAMED)
def test_what_it_names_is_there(module: str, name: str) -> None:
    assert hasattr(import_module(module.replace("/", ".")), name)


def test_cited_sections_exist() -> None:
    sections = set(re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE))
    cited = {
        number
        for folder in ("unia", "tests", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
        for said in CITATION.findall(file.read_text(encoding="utf-8"))
        for number in re.findall(r"\d+", said)
    }
    assert {"1", "4", "6"} <= cited <= sections
