"""Broken own data: its images and its table of labels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from spoilt import Case, accepted, again, refused, save, write
from stored import COLOUR, COLOUR_ALPHA, GREY_ALPHA, write_png, write_tiff

from unia.data import images
from unia.data.samples import Dataset, load_split, write_label
from unia.recipe import ImagesData
from unia.steps.download import download
from unia.steps.prepare import prepare

OWN = ImagesData(kind="images", source="bad", classes=("rose", "tulip"))
LABELS = """image,split,labels,mask
0.png,train,rose,
1.png,train,tulip,
2.png,train,rose;tulip,
3.png,val,rose,3m.png
"""


def read(config: ImagesData) -> Dataset:
    root = Path("bad")
    return images.read(config, [root], root, root)


def own() -> Path:
    Path("bad").mkdir()
    for number in range(4):
        Image.new("RGB", (8, 6)).save(f"bad/{number}.png")
    write_label(Path("bad/3m.png"), np.ones((6, 8), np.uint8))
    Path("bad/labels.csv").write_text(LABELS)
    return Path("bad")


def deep(root: Path, ending: str, kind: int) -> None:
    """A camera's 12 bits in 16: Pillow keeps the upper 8 of these, and the picture would be black."""
    values = np.full((6, 8, {COLOUR: 3, GREY_ALPHA: 2, COLOUR_ALPHA: 4}[kind]), 3000)
    if ending == ".tif":
        write_tiff(root / "0.tif", values)
    else:
        write_png(root / "0.png", values, 16, kind)
    write(root, "labels.csv", LABELS.replace("0.png", f"0{ending}"))


def stretched(root: Path) -> None:
    (root / "3m.pgm").write_bytes(b"P5 8 6 2\n" + bytes([1] * 48))
    write(root, "labels.csv", LABELS.replace("3m.png", "3m.pgm") + "4.png,val,rose,\n")
    Image.new("RGB", (8, 6)).save(root / "4.png")


CASES: dict[str, Case] = {
    "image of 16 bits": (save, ("0.png", "I;16"), "0.png: has pixels of more than 8 bits (I;16)", True),
    "PNG of 16-bit colours": (deep, (".png", COLOUR), "0.png: has pixels of more than 8 bits (RGB)", True),
    "PNG of 16-bit colours, and alpha": (
        deep,
        (".png", COLOUR_ALPHA),
        "0.png: has pixels of more than 8",
        True,
    ),
    "PNG of 16-bit greys, and alpha": (deep, (".png", GREY_ALPHA), "0.png: has pixels of more than 8", True),
    "TIFF of 16-bit colours": (deep, (".tif", COLOUR), "0.tif: has pixels of more than 8 bits (RGB)", True),
    "mask whose greys are stretched": (
        stretched,
        (),
        "3m.pgm: its grey values are not read as they are stored; save the mask as PNG",
        True,
    ),
    "CSV not UTF-8": (
        write,
        ("labels.csv", LABELS.replace("rose", "rosé"), "latin-1"),
        "labels.csv: cannot be read ('utf-8' codec can't decode",
        False,
    ),
    "CSV in UTF-16": (
        write,
        ("labels.csv", LABELS, "utf-16"),
        "invalid start byte); save it as UTF-8",
        False,
    ),
    "a column twice": (
        write,
        ("labels.csv", LABELS.replace("mask", "Labels ")),
        "labels.csv: has more than one column labels; keep one of them",
        False,
    ),
    "CSV without a column": (
        write,
        ("labels.csv", "image,split\n"),
        "labels.csv: lacks the column labels",
        False,
    ),
    "a cell too many": (
        again,
        ("labels.csv", "4.png,train,rose,tulip,4m.png\n"),
        "labels.csv:6: has more cells than the first line has columns; put quotes around a cell",
        True,
    ),
    "labels between commas": (
        again,
        ("labels.csv", '4.png,train,"rose, tulip"\n'),
        "labels.csv:6: 'rose, tulip' is none of data.classes: rose, tulip; write a ; between labels",
        True,
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


SEPARATED = {
    "semicolons, as spreadsheets write them": ";",
    "tabs": "\t",
}


@pytest.mark.parametrize("separator", SEPARATED.values(), ids=SEPARATED)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_separator_of_cells_is_found(separator: str, encoding: str) -> None:
    root = own()
    quoted = LABELS.replace("rose;tulip", '"rose;tulip"').replace("\n", f"{separator}\n")
    write(root, "labels.csv", quoted.replace(",", separator), encoding)
    found = read(OWN)
    assert not found.problems
    assert [sample.labels for sample in found.splits["train"]] == [(1,), (2,), (1, 2)]
    assert found.splits["val"][0].mask == root / "3m.png"


def test_files_of_one_name_are_told_apart() -> None:
    """By ending, by folder, by case: each gets a name of its own, which later steps write under."""
    root = own()
    rows = [
        "0000.png",
        "0000.jpg",
        "a/b_c.png",
        "a_b/c.png",
        "0000_2.png",
        "X.png",
        "x.png",
        ".b.png",
        "b.png",
    ]
    for number, row in enumerate(rows):
        (root / row).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 6), (number, 0, 0)).save(root / row)
    lines = "".join(f"{row},{'val' if row == 'x.png' else 'train'},rose,\n" for row in rows)
    write(root, "labels.csv", LABELS + lines)
    download("bad", OWN, Path("raw.json"))
    prepare("bad", OWN, Path("raw.json"), Path("out"))
    samples = [sample for split in ("train", "val") for sample in load_split(Path("out"), split).samples]
    names = {sample.image.relative_to(root).as_posix(): sample.name for sample in samples}
    assert names["0000.jpg"] == "0000"
    assert names["a/b_c.png"] == "a_b_c"
    assert {names[".b.png"], names["b.png"]} == {"b", "b_2"}  # tools take what starts with a dot for theirs
    assert set(rows) < set(names)
    assert len({name.casefold() for name in names.values()}) == len(names) == 4 + len(rows)


def test_accents_may_be_written_as_one_sign_or_as_two() -> None:
    """A table made on a Mac writes them as two; its eyes see no difference."""
    root = own()
    one, two = "ros\u00e9", "rose\u0301"
    Image.new("RGB", (8, 6)).save(root / f"{one}.png")
    write(root, "labels.csv", f"{LABELS}{two}.png,train,{two},\n")
    found = read(OWN.model_copy(update={"classes": ("rose", "tulip", one)}))
    assert not found.problems
    assert found.splits["train"][-1].labels == (3,)
    assert found.splits["train"][-1].image == root / f"{one}.png"


def test_a_table_of_another_system_is_read() -> None:
    """Capitals at the head, backslashes in paths; one cannot leave the folder by them either."""
    root = own()
    (root / "more").mkdir()
    Image.new("RGB", (8, 6)).save(root / "more/4.png")
    write(root, "labels.csv", LABELS.replace("image,split", "Image, Split") + "more\\4.png,train,rose,\n")
    found = read(OWN)
    assert not found.problems
    assert found.splits["train"][-1].image == root / "more/4.png"
    again(root, "labels.csv", "..\\5.png,train,rose,\n")
    (problem,) = read(OWN).problems
    assert "must be a path below bad" in str(problem)


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str) -> None:
    refused(own, OWN, name, CASES[name])
