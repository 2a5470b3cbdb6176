"""Broken own data: its images and its table of labels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from spoilt import Case, accepted, again, refused, save, write

from unia.data.samples import write_label
from unia.recipe import ImagesData

OWN = ImagesData(kind="images", source="bad", classes=("rose", "tulip"))
LABELS = """image,split,labels,mask
0.png,train,rose,
1.png,train,tulip,
2.png,train,rose;tulip,
3.png,val,rose,3m.png
"""


def own() -> Path:
    Path("bad").mkdir()
    for number in range(4):
        Image.new("RGB", (8, 6)).save(f"bad/{number}.png")
    write_label(Path("bad/3m.png"), np.ones((6, 8), np.uint8))
    Path("bad/labels.csv").write_text(LABELS)
    return Path("bad")


CASES: dict[str, Case] = {
    "image of 16 bits": (save, ("0.png", "I;16"), "0.png: has pixels of more than 8 bits (I;16)", True),
    "CSV not UTF-8": (
        write,
        ("labels.csv", LABELS.replace("rose", "rosé"), "latin-1"),
        "labels.csv: cannot be read ('utf-8' codec can't decode",
        False,
    ),
    "CSV without a column": (
        write,
        ("labels.csv", "image,split\n"),
        "labels.csv: lacks the column labels",
        False,
    ),
    "label unknown": (again, ("labels.csv", "4.png,val,lily,\n"), "labels.csv:6: 'lily' is none of", True),
    "image in two splits": (
        again,
        ("labels.csv", "0.png,val,rose,\n"),
        "0.png: is in the splits train and val",
        True,
    ),
    "labels contradict": (
        again,
        ("labels.csv", "0.png,train,tulip,\n"),
        "0 is listed more than once, with different labels or files",
        True,
    ),
    "no label anywhere": (
        write,
        ("labels.csv", "image,split,labels,mask\n0.png,train,,\n3.png,val,rose,\n"),
        "split train: no image has a label, so there is nothing to learn",
        False,
    ),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_is_good_before_it_is_broken() -> None:
    accepted(own, OWN)


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str) -> None:
    refused(own, OWN, name, CASES[name])
