"""What is wrong with a dataset is told by `unia prepare`, in one line that names file and reason.

`refused` breaks a good dataset; the ways to break one of each kind are in test_bad_<kind>.py.
"""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from unia.data.samples import load_split
from unia.errors import UserError
from unia.recipe import Data
from unia.steps.download import download
from unia.steps.prepare import prepare

Case = tuple[Callable[..., None], tuple[object, ...], str, bool]
"""How to spoil the good dataset, with which arguments, part of the message, may such samples be left out?"""


def accepted(make: Callable[[], Path], data: Data) -> None:
    """The dataset is good before it is broken."""
    make()
    download("bad", data, Path("raw.json"))
    prepare("bad", data, Path("raw.json"), Path("out"))
    assert not Path("out/problems.csv").exists()


def refused(make: Callable[[], Path], data: Data, name: str, case: Case, stays: str = "") -> None:
    """`stays`: of samples listed twice alike, the one that is used all the same."""
    spoil, arguments, expected, can_be_left_out = case
    root = make()
    download("bad", data, Path("raw.json"))
    spoil(root, *arguments)
    with pytest.raises(UserError) as caught:
        prepare("bad", data, Path("raw.json"), Path("out"))
    message = str(caught.value)
    print(f"| {name} | {message} |")
    assert expected in message
    assert "\n" not in message
    assert ".partial" not in message
    assert not Path("out").exists()

    lenient = data.model_copy(update={"problems": "leave_out"})
    if can_be_left_out:
        prepare("bad", lenient, Path("raw.json"), Path("out"))
        with Path("out/problems.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert any(expected in f"{row['file']}: {row['reason']}" for row in rows)
        kept = {(s, sample.name) for s in ("train", "val") for sample in load_split(Path("out"), s).samples}
        spoilt = {(row["split"], row["name"]) for row in rows}
        assert kept & spoilt == ({("val", stays)} if stays else set())
        assert {split for split, _ in kept} == {"train", "val"}
    else:
        with pytest.raises(UserError):
            prepare("bad", lenient, Path("raw.json"), Path("out"))
        assert not Path("out").exists()


def remove(root: Path, file: str) -> None:
    (root / file).unlink()


def cut(root: Path, file: str) -> None:
    whole = (root / file).read_bytes()
    (root / file).write_bytes(whole[: len(whole) // 2])


def write(root: Path, file: str, content: str, encoding: str = "utf-8") -> None:
    (root / file).write_text(content, encoding=encoding)


def again(root: Path, file: str, line: str) -> None:
    with (root / file).open("a") as stream:
        stream.write(line)


def save(root: Path, file: str, mode: str, size: tuple[int, int] = (48, 48), turn: bool = False) -> None:
    exif = Image.Exif()
    if turn:
        exif[0x0112] = 6
    Image.new(mode, size).save(root / file, format="JPEG" if file.endswith("jpg") else "PNG", exif=exif)
