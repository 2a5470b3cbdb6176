import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unia.data.samples import (
    Dataset,
    Sample,
    load_split,
    read_image,
    read_mask,
    voc_palette,
    write_dataset,
    write_label,
)
from unia.errors import UserError
from unia.figures.ranking import image_miou
from unia.steps.ablation import ablation

SAMPLES = [
    Sample("a", Path("some/a.jpg"), Path("some/a.png"), (1, 3), "patient1_frame01"),
    Sample("b", Path("some/b.jpg"), None, ()),
]
SUMS = {Path(f"some/{name}"): name * 4 for name in ("a.jpg", "a.png", "b.jpg")}


def dataset(samples: list[Sample]) -> Dataset:
    return Dataset(
        ("x", "y", "z"), "CC0", "nobody", {"train": samples}, {"all": (1, 2, 3)}, protocol="tiles", tile=8
    )


def test_a_split_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_dataset(tmp_path, "toy", "shapes", dataset(SAMPLES), SUMS)
    split = load_split(tmp_path, "train")
    assert split.samples == tuple(SAMPLES)
    assert (split.dataset, split.name, split.classes) == ("toy", "train", ("x", "y", "z"))
    assert split.unions == {"all": (1, 2, 3)}
    assert (split.protocol, split.tile) == ("tiles", 8)
    lines = (tmp_path / "train.csv").read_text().splitlines()
    assert lines[0] == "name,image,mask,labels,volume,image_sha256,mask_sha256"
    assert (
        lines[1] == "a,some/a.jpg,some/a.png,1 3,patient1_frame01,a.jpga.jpga.jpga.jpg,a.pnga.pnga.pnga.png"
    )


def test_without_any_labels_there_is_no_such_column(tmp_path: Path) -> None:
    write_dataset(tmp_path, "toy", "voc", dataset([Sample("b", Path("some/b.jpg"), None, None)]), SUMS)
    assert "labels" not in (tmp_path / "train.csv").read_text()
    assert load_split(tmp_path, "train").samples[0].labels is None


def test_an_unknown_split_names_those_there_are(tmp_path: Path) -> None:
    write_dataset(tmp_path, "toy", "shapes", dataset(SAMPLES), SUMS)
    with pytest.raises(UserError, match="has no split 'test'; there are: train"):
        load_split(tmp_path, "test")
    with pytest.raises(UserError, match="no such file"):
        load_split(tmp_path / "nowhere", "train")


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "1", "LA"])
def test_images_of_every_mode_become_rgb(tmp_path: Path, mode: str) -> None:
    colours = np.zeros((5, 7, 3), np.uint8)
    colours[:, 3:] = 255
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    Image.fromarray(colours).convert(mode).save(path)
    assert np.array_equal(read_image(path), colours)


def test_exif_orientation_leaves_the_pixels_where_they_are(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.new("RGB", (16, 8)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (8, 16, 3)


def test_damaged_images_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "image.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"image\.jpg: no readable image"):
        read_image(path)
    path.write_bytes(b"hello")
    with pytest.raises(UserError, match=r"image\.jpg: no readable image"):
        read_image(path)
    path.write_bytes(whole)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    with (
        pytest.raises(UserError, match=r"image\.jpg: .*too many"),
        pytest.warns(Image.DecompressionBombWarning),
    ):
        read_image(path)
    with pytest.raises(UserError, match=r"gone\.jpg: no such file"):
        read_image(tmp_path / "gone.jpg")


def test_labels_keep_their_ids_and_their_bytes(tmp_path: Path) -> None:
    label = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for colours in (True, False):
        write_label(tmp_path / "one.png", label, colours)
        write_label(tmp_path / "two.png", label, colours)
        assert np.array_equal(read_mask(tmp_path / "one.png"), label)
        assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    with pytest.raises(UserError, match=r"colour\.png: a mask must hold class ids"):
        read_mask(tmp_path / "colour.png")


def test_the_palette_is_vocs() -> None:
    colours = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3).tolist()
    assert colours[:5] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    assert colours[15] == [192, 128, 128]  # person
    assert colours[20] == [0, 64, 128]  # tvmonitor
    assert colours[255] == [224, 224, 192]


def test_a_lost_table_says_what_to_do(tmp_path: Path) -> None:
    write_dataset(tmp_path / "toy", "toy", "shapes", dataset(SAMPLES), SUMS)
    (tmp_path / "toy" / "train.csv").write_text("name,image\na,b\n")
    with pytest.raises(UserError, match="run the prepare step again"):
        load_split(tmp_path / "toy", "train")
    shutil.rmtree(tmp_path / "toy")


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "toy", "toy", "shapes", dataset(SAMPLES), SUMS)
    table = tmp_path / "toy" / "train.csv"
    table.write_text(table.read_text().replace("volume", "labels"))
    with pytest.raises(UserError, match=r"train\.csv: has more than one column labels"):
        load_split(tmp_path / "toy", "train")
    scores = tmp_path / "images.csv"
    scores.write_text("name,kind,class,tp,fp,fn,tp\na,seg,x,1,0,0,0\n")
    with pytest.raises(UserError, match=r"images\.csv: has more than one column tp"):
        image_miou(scores)
    with pytest.raises(UserError, match=r"images\.csv: has more than one column tp"):
        ablation({"full": [tmp_path]}, {"full": ""}, tmp_path / "table.csv")
