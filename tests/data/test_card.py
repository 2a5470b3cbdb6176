"""A split's card against what its files hold, counted again here."""

import csv
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from unia.commands.steps import app
from unia.data.card import page, read_card
from unia.data.samples import write_label
from unia.errors import UserError
from unia.files import sha256
from unia.recipe import ImagesData
from unia.steps.download import download
from unia.steps.prepare import prepare

DATA = ImagesData(
    kind="images",
    source="pets",
    classes=("cat", "dog", "<owl>"),
    licence="CC0",
    citation="me",
    problems="leave_out",
)
TABLE = """image,split,labels,mask
a.png,train,cat;dog,a_mask.png
b.png,train,cat,b_mask.png
c.png,train,,
d.png,train,<owl>;cat,
gone.png,train,cat,
v.png,val,dog,
"""


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """a: the dog has no pixel; b: agrees, but a dog is there without a label."""
    monkeypatch.chdir(tmp_path)
    Path("pets").mkdir()
    for name, size in {"a": (8, 6), "b": (8, 6), "c": (5, 5), "d": (20, 10), "v": (8, 6)}.items():
        Image.new("RGB", size).save(f"pets/{name}.png")
    mask = np.zeros((6, 8), np.uint8)
    mask[:2], mask[2] = 1, 255
    write_label(Path("pets/a_mask.png"), mask)
    mask[5, :3] = 2
    write_label(Path("pets/b_mask.png"), mask)
    Path("pets/labels.csv").write_text(TABLE)
    download("pets", DATA, Path("raw.json"))
    prepare("pets", DATA, Path("raw.json"), Path("out"))
    return Path("out")


def test_what_a_card_says(out: Path) -> None:
    assert read_card(out, "train") == {
        "dataset": "pets",
        "split": "train",
        "images": 4,
        "masks": 2,
        "volumes": 0,
        "left_out": 1,
        "labels_from": "annotations",
        "classes": [
            {"class": "cat", "images": 3, "pixels": 32},
            {"class": "dog", "images": 1, "pixels": 3},
            {"class": "<owl>", "images": 1, "pixels": 0},
        ],
        "background_pixels": 2 * 48 - 32 - 3 - 16,
        "ignored_pixels": 16,
        "labels_per_image": {"0": 1, "1": 1, "2": 2},
        "co_occurrence": [[3, 1, 1], [1, 1, 0], [1, 0, 1]],
        "sizes": {
            "different": 3,
            "smallest": [5, 5],
            "largest": [20, 10],
            "most_frequent": [[8, 6, 2], [5, 5, 1], [20, 10, 1]],
        },
        "turned": 0,
        "in_other_splits": 2,  # a and b are the same picture as v
        "disagreements": {"of": 2, "images": 2, "labelled_only": {"dog": 1}, "painted_only": {"dog": 1}},
        "licence": "CC0",
        "citation": "me",
        "manifest": {"file": "train.csv", "sha256": sha256(out / "train.csv")},
    }
    with (out / "disagreements.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["split", "name", "class", "only_in"],
            ["train", "a", "dog", "label"],
            ["train", "b", "dog", "mask"],
        ]


def test_every_split_has_a_card(out: Path) -> None:
    assert read_card(out, "val")["images"] == 1
    with pytest.raises(UserError, match="no such file"):
        read_card(out, "test")


class Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())


def test_a_card_can_be_read_as_a_page(out: Path) -> None:
    """Names are text, never markup."""
    done = CliRunner().invoke(app, ["card", "out", "train", "--out", "page.html"])
    assert done.exit_code == 0, done.output
    html = Path("page.html").read_text()
    assert html == page(read_card(out, "train"))
    assert "<owl>" not in html
    parser = Words()
    parser.feed(html)
    for expected in (
        "pets: train",
        "<owl>",
        "CC0",
        "8 x 6: 2, 5 x 5: 1, 20 x 10: 1",
        "2 of 2",
        "only labelled",
        "only in the mask",
        sha256(out / "train.csv"),
    ):
        assert expected in parser.words
