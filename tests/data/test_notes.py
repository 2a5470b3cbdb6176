"""What is known of a dataset and wrong with no file is told by `unia prepare`, before anything is trained."""

import csv
import io
import json
import re
import shutil
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image
from program import unia
from stored import write_png

from unia.data.card import page, read_card
from unia.errors import UserError
from unia.recipe import ImagesData
from unia.steps.download import download
from unia.steps.prepare import prepare
from unia.steps.score import score
from unia.tracking.trace import follow
from unia.tracking.verify import Kind, verify

ROOT = Path(__file__).parents[2]
ROSES = "image,split,labels,mask\n" + "".join(
    f"{split}{number}.png,{split},rose,{split}{number}m.png\n"
    for split in ("train", "val")
    for number in range(3)
)


class Own:
    """A dataset of six own images, in a folder with params.yaml; each image has a colour of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.classes: tuple[str, ...] = ("rose",)
        self.more: dict[str, Any] = {}
        (folder / "own").mkdir()
        for number, name in enumerate(row.split(".")[0] for row in ROSES.splitlines()[1:]):
            Image.new("RGB", (8, 6), (9 * number, 0, 0)).save(folder / f"own/{name}.png")
            self.mask(name, 1)
        self.table(ROSES)

    def table(self, text: str) -> None:
        (self.folder / "own/labels.csv").write_text(text)

    def mask(self, name: str, value: int, palette: bytes | None = None) -> None:
        """Half of the mask is `value`, the rest background; grey unless a palette is given."""
        label: NDArray[np.uint8] = np.zeros((6, 8), np.uint8)
        label[:, 4:] = value
        image = Image.fromarray(label)
        if palette is not None:
            image.putpalette(palette)
        image.save(self.folder / f"own/{name}m.png")

    def prepare(self, refused: bool = False) -> str:
        """What the steps download and prepare say; prepare must refuse the dataset, or must not."""
        data = ImagesData(kind="images", source="own", classes=self.classes, **self.more)
        said = io.StringIO()
        with redirect_stderr(said):
            download("own", data, Path("data/raw/own.json"))
            if refused:
                with pytest.raises(UserError) as caught:
                    prepare("own", data, Path("data/raw/own.json"), Path("data/own"))
                return str(caught.value)
            prepare("own", data, Path("data/raw/own.json"), Path("data/own"))
        return said.getvalue()

    def rows(self, name: str) -> list[dict[str, str]]:
        with (self.folder / "data/own" / name).open(newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Own:
    monkeypatch.chdir(tmp_path)
    return Own(tmp_path)


def test_of_good_data_nothing_is_said(own: Own) -> None:
    said = own.prepare()
    assert "prepare own: 3 train, 3 val, 1 classes" in said
    assert said.count("prepare own: ") == 1


def test_masks_that_hold_no_class_stop(own: Own) -> None:
    """0 and 255 are what annotation tools write for one class; the background alone would be scored."""
    for number in range(3):
        own.mask(f"val{number}", 255)
    said = own.prepare(refused=True)
    assert "split val: its masks hold no class, only 0 (background) and 255 (ignored)" in said
    assert "must hold its id: 1 rose" in said
    own.more = {"problems": "leave_out"}
    assert "split val: its masks hold no class" in own.prepare(refused=True)
    assert not (own.folder / "data/own").exists()


def test_labels_and_masks_that_disagree_are_counted(own: Own) -> None:
    own.mask("val1", 255)
    said = own.prepare()
    assert "val: labels and masks disagree in 1 of 3 images; see data/own/disagreements.csv\n" in said
    assert "train: labels" not in said
    assert [row["name"] for row in own.rows("disagreements.csv")] == ["val1"]
    shown = page(read_card(Path("data/own"), "val"))
    assert "1 of 3" in shown
    assert "<th>only labelled<th>only in the mask" in shown
    own.mask("val2", 255)
    assert "are the masks' ids those of the classes, in their order?" in own.prepare()


def test_labels_left_blank_are_told(own: Own) -> None:
    own.table(ROSES.replace("val,rose", "val,"))
    said = own.prepare()
    assert "val: labels and masks disagree in 3 of 3 images, 3 of them without any label;" in said


def test_images_that_no_row_lists_are_told(own: Own) -> None:
    own.table("".join(line for line in ROSES.splitlines(keepends=True) if not line.startswith("train1")))
    (own.folder / "own/notes.txt").write_text("no image")
    said = own.prepare()
    assert (
        "2 of 12 images and masks are in no row of own/labels.csv: own/train1.png, own/train1m.png\n" in said
    )


def test_pixels_and_pages_that_nobody_sees_are_told(own: Own) -> None:
    photo = Image.new("RGBA", (8, 6), (200, 0, 0, 255))
    photo.save(own.folder / "own/train0.png")
    assert "transparent" not in own.prepare()  # all of it is opaque
    photo.putpixel((3, 3), (0, 200, 0, 0))
    photo.save(own.folder / "own/train0.png")
    grey = Image.new("L", (8, 6), 7)
    grey.save(own.folder / "own/train1.png", transparency=7)
    stack = [Image.new("RGB", (8, 6), (number, 0, 0)) for number in range(3)]
    stack[0].save(own.folder / "own/val0.tif", save_all=True, append_images=stack[1:])
    own.table(ROSES.replace("val0.png", "val0.tif"))
    said = own.prepare()
    assert "train: 2 of 3 images have transparent pixels, of which the network sees" in said
    assert "val: 1 of 3 images hold several pages or frames, of which the first alone is used: val0" in said


def test_training_images_without_a_label_are_told(own: Own) -> None:
    own.table(ROSES.replace("train1.png,train,rose,train1m.png", "train1.png,train,,"))
    assert "train: 1 of 3 images have no label, which is taken for showing none of the classes: train1" in (
        own.prepare()
    )


def test_masks_whose_palettes_were_renumbered_are_told(own: Own) -> None:
    """A program that drops unused colours makes every mask's class the first: its colour tells."""
    own.classes = ("rose", "tulip")
    own.table(ROSES.replace("val1.png,val,rose", "val1.png,val,tulip"))
    own.mask("val0", 1, bytes(3) + b"\x80\0\0")
    own.mask("val1", 1, bytes(3) + b"\0\x80\0")
    said = own.prepare()
    assert "val: the masks' palettes differ: 1 is #800000 in val0, #008000 in val1" in said


def test_one_picture_in_two_splits_is_told_or_refused(own: Own) -> None:
    picture = (own.folder / "own/val2.png").read_bytes()
    (own.folder / "own/train0.png").write_bytes(picture)
    said = own.prepare()
    assert (
        "train: holds, under other names, 1 image of val too (the same files); see data/own/duplicates.csv"
        in said
    )
    assert [(row["name"], row["other_name"]) for row in own.rows("duplicates.csv")] == [("train0", "val2")]
    own.more = {"duplicates": "refuse"}
    said = own.prepare(refused=True)
    assert "own/train0.png: is the same picture as own/val2.png of val" in said
    own.more |= {"problems": "leave_out"}
    assert "prepare own: 2 train, 3 val, 1 classes" in own.prepare()


def test_one_picture_twice_in_a_split_is_told_or_refused(own: Own) -> None:
    """In val it counts twice; in train its two labels contradict each other."""
    own.classes = ("rose", "tulip")
    own.table(ROSES.replace("train2.png,train,rose", "train2.png,train,tulip"))
    for split in ("train", "val"):
        shutil.copyfile(f"own/{split}1.png", f"own/{split}2.png")
    said = own.prepare()
    assert (
        "train: holds 1 image again, under other names (the same files), 1 of them with different labels or "
        "masks; see data/own/duplicates.csv, and data.duplicates\n" in said
    )
    assert "val: holds 1 image again, under other names (the same files); see data/own/duplicates.csv" in said
    rows = [tuple(row[key] for key in row if "file" not in key) for row in own.rows("duplicates.csv")]
    assert sorted(rows) == [("train", "train2", "train", "train1"), ("val", "val2", "val", "val1")]
    assert read_card(Path("data/own"), "train")["in_other_splits"] == 0
    own.more = {"duplicates": "refuse"}
    said = own.prepare(refused=True)
    assert "own/val2.png: is the same picture as own/val1.png of val." in said
    for one, other in (("train1", "train2"), ("train2", "train1")):
        assert (
            f"own/{one}.png: is the same picture as own/{other}.png of train, with different labels or masks"
            in said
        )
    own.more |= {"problems": "leave_out"}
    assert "prepare own: 1 train, 2 val, 2 classes" in own.prepare()


def test_ids_in_few_bits_are_read_as_they_are_stored(own: Own) -> None:
    own.classes = ("rose", "tulip", "lily")
    for number, bits in enumerate((1, 2, 4)):
        write_png(own.folder / f"own/val{number}m.png", np.arange(48).reshape(6, 8) % min(4, 2**bits), bits)
    own.prepare()
    areas = {area["class"]: area["pixels"] for area in read_card(Path("data/own"), "val")["classes"]}
    assert areas == {"rose": 24 + 12 + 12, "tulip": 12 + 12, "lily": 12 + 12}


def test_images_that_will_not_be_scored_are_named(own: Own) -> None:
    own.table(ROSES.replace("val1m.png", ""))
    assert "val: 1 of 3 images have no mask and will not be scored: val1\n" in own.prepare()
    own.table(re.sub(r"val.m\.png", "", ROSES))
    assert "val: no image has a mask, so the split can be predicted, and not scored" in own.prepare()


def test_images_without_a_mask_are_left_out_of_the_scores(own: Own) -> None:
    own.table(ROSES.replace("val1m.png", ""))
    own.prepare()
    for kind in ("predictions/seg", "predictions/seg_ms", "predictions/seg_ms_filtered", "crf"):
        (own.folder / kind).mkdir(parents=True)
        for number in range(3):
            Image.open(own.folder / "own/val0m.png").save(own.folder / kind / f"val{number}.png")
    said = io.StringIO()
    with redirect_stderr(said):
        score(Path("data/own"), "val", Path("predictions"), Path("crf"), Path("s.json"), Path("images.csv"))
    assert "score val: 1 of 3 images have no mask and are not scored" in said.getvalue()
    document = json.loads(Path("s.json").read_text())
    assert document["images"] == 2
    assert document["kinds"]["seg"]["confusion"] == [[48, 0], [0, 48]]


def test_masks_that_are_ignored_everywhere_are_named(own: Own) -> None:
    Image.new("L", (8, 6), 255).save("own/val1m.png")
    assert "val: 1 of 3 images have a mask of 255 alone, and count for nothing: val1\n" in own.prepare()


def test_classes_that_nothing_shows_are_named(own: Own) -> None:
    own.classes = ("rose", "tulip")
    said = own.prepare()
    assert "train: classes that no image is labelled with, so that they cannot be learned: tulip" in said
    assert "val: classes that no mask holds, whose IoU stays empty and which mIoU leaves out: tulip" in said


def test_photos_that_lie_on_their_side_are_named(own: Own) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (8, 6)).save(own.folder / "own/train1.png", exif=exif)
    said = own.prepare()
    assert "train: 1 of 3 images carry an EXIF orientation, which is not applied" in said
    assert "as stored: train1\n" in said
    assert "<td>turned by EXIF, which is not applied<td>1" in page(read_card(Path("data/own"), "train"))


def test_the_commands_say_it_and_trace_reads_what_they_wrote(
    own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists of what was noted lie among the tables of images, whose hashes are checked."""
    monkeypatch.setitem(sys.modules, "mlflow", None)  # takes seconds
    document = yaml.safe_load((ROOT / "params.yaml").read_text())
    data = {"kind": "images", "source": "own", "classes": ["rose"]}
    document["datasets"]["own"] = {"data": data, **{name: {} for name in document["recipe"]}}
    Path("params.yaml").write_text(yaml.safe_dump(document))
    own.mask("val1", 255)
    Path("own/train0.png").write_bytes(Path("own/val2.png").read_bytes())
    unia(own.folder, "download", "own", "--out", "data/raw/own.json")
    said = unia(own.folder, "prepare", "own", "--raw", "data/raw/own.json", "--out", "data/own")
    assert "prepare own: val: labels and masks disagree in 1 of 3 images" in said
    findings, files = verify(follow(Path("data/own")))
    assert not [finding for finding in findings if finding.kind in (Kind.CHANGED, Kind.MISSING)]
    assert files > 12
    Path("own/val0.png").write_bytes(b"")
    assert "own/val0.png" in unia(own.folder, "trace", "data/own", "--verify", code=3)
