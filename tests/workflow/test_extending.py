"""docs/extending.md, followed: its examples are put into a copy of the project, and run."""

import csv
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from project import ROOT, TINY, Project
from test_graphs import rules_of, stages_of

from unia.recipe import SECTIONS

PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
PIECE = re.compile(
    r"^`(?P<file>[\w/.]+)`, (?P<where>a new file|at its end|(?:below|in place of) `(?P<line>[^`]+)`):\n\n"
    r"```\w+\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def follow(project: Project) -> int:
    """Put every piece of the page where it says; returns their number."""
    pieces = list(PIECE.finditer(PAGE))
    for piece in pieces:
        file, text, line = project.folder / piece["file"], piece["text"], piece["line"]
        old = file.read_text(encoding="utf-8") if file.exists() else ""
        if line is None:
            assert bool(old) == (piece["where"] == "at its end"), file
            new = old + text
        else:
            assert old.count(f"{line}\n") == 1, f"{file}: {line}"
            kept = f"{line}\n" if piece["where"].startswith("below") else ""
            new = old.replace(f"{line}\n", kept + text)
        file.write_text(new, encoding="utf-8")
    return len(pieces)


@pytest.mark.slow
def test_the_page_is_followed(tmp_path: Path) -> None:
    project = Project(tmp_path, settings=())
    shutil.copy(ROOT / "params.yaml", tmp_path)  # a project writes it anew, without comments
    assert follow(project) == PAGE.count("```") // 2
    flowers = tmp_path / "flowers"
    for number, name in enumerate(("train/rose", "train/tulip", "val/rose")):
        (flowers / name).mkdir(parents=True)
        Image.new("RGB", (40, 30), (60 * number, 120, 0)).save(flowers / name / "1.png")
    sections = ", ".join(f"{name}: {{}}" for name in SECTIONS)
    project.set(
        *TINY,
        f"datasets.flowers={{data: {{kind: folders, source: flowers, classes: [rose, tulip]}}, {sections}}}",
        "ablations.shapes.variants=[full, with_entropy]",
    )
    project.ok("snakemake", "--cores", "2", "results/shapes/val/areas.csv", "data/flowers")
    table = dict(csv.reader((tmp_path / "results/shapes/val/areas.csv").read_text().splitlines()))
    assert sum(map(int, table.values())) == 6 * 32 * 32
    said = (tmp_path / "logs/flowers/prepare.log").read_text()
    assert "2 train, 1 val, 2 classes" in said

    project.ok("snakemake", "--cores", "2", "results/shapes/with_entropy/1/train/losses.csv")
    for run, counted in (("shapes", False), ("shapes/with_entropy/1", True)):
        with (tmp_path / f"results/{run}/train/losses.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert all(bool(row["entropy"]) == counted for row in rows)
    stages = stages_of(project)
    made = {out for _, _, outs in stages for out in outs}
    assert "results/shapes/val/areas.csv" in made
    assert rules_of(project, *made) == stages
