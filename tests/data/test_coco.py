"""Painted COCO masks against other rasterisers: PIL's polygons, numpy's run lengths, plain rectangles."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools import mask as rle
from scipy.ndimage import maximum_filter, minimum_filter

from unia.data import coco
from unia.data.card import read_card
from unia.data.paint import Object, paint
from unia.data.samples import Dataset, load_split, read_image, read_mask
from unia.errors import UserError
from unia.files import read_json, write_json
from unia.recipe import CocoData
from unia.steps.download import download
from unia.steps.prepare import prepare

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "coco" / "tiny_coco"
CONFIG = CocoData(kind="coco", source=None, crowd="paint", min_area=0)
HEIGHT, WIDTH = 40, 50
FINER = 4  # PIL draws on a grid this much finer, and the pixels' centres are read off

Annotation = dict[str, Any]


def polygon(x: int, y: int, width: int, height: int) -> list[list[float]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def rectangle(x: int, y: int, width: int, height: int) -> NDArray[np.bool_]:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y : y + height, x : x + width] = True
    return mask


def run_lengths(mask: NDArray[np.bool_]) -> Annotation:
    """Uncompressed, as COCO gives crowds: column by column, background first."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(np.r_[False, flat])).tolist()
    return {"size": list(mask.shape), "counts": np.diff([0, *changes, flat.size]).tolist()}


CATEGORIES = [{"id": k, "name": name} for k, name in coco.CATEGORIES.items()]
OBJECTS: dict[str, list[tuple[int, Any, int]]] = {
    "overlapping": [(1, polygon(5, 5, 20, 20), 0), (18, polygon(15, 10, 20, 20), 0)],
    "reversed": [(18, polygon(15, 10, 20, 20), 0), (1, polygon(5, 5, 20, 20), 0)],
    "hidden": [(90, polygon(10, 10, 5, 5), 0), (13, polygon(8, 8, 20, 20), 0)],
    "crowd": [(1, run_lengths(rectangle(3, 4, 30, 9) | rectangle(20, 20, 6, 7)), 1)],
    "two_parts": [(67, polygon(2, 2, 4, 4) + polygon(30, 20, 6, 9) + [[1.0, 2.0, 30.0, 30.0]], 0)],
    "empty": [],
}
"""Image -> (category id, segmentation, is it a crowd) of its annotations, in their order."""

PAINTED: dict[str, tuple[NDArray[np.int_], tuple[int, ...]]] = {
    "overlapping": (np.where(rectangle(15, 10, 20, 20), 17, rectangle(5, 5, 20, 20) * 1), (1, 17)),
    "reversed": (np.where(rectangle(5, 5, 20, 20), 1, rectangle(15, 10, 20, 20) * 17), (1, 17)),
    "hidden": (rectangle(8, 8, 20, 20) * 12, (12, 80)),
    "crowd": (rectangle(3, 4, 30, 9) | rectangle(20, 20, 6, 7) * 1, (1,)),
    "two_parts": ((rectangle(2, 2, 4, 4) | rectangle(30, 20, 6, 9)) * 61, (61,)),
}
"""Image -> (what its mask must be, its labels)."""


def make(root: Path, year: int, parent: str, objects: dict[str, list[tuple[int, Any, int]]]) -> None:
    """A COCO of `year` whose images and annotations are both in a muddled order."""
    for split, part in (("train", objects), ("val", {"overlapping": OBJECTS["overlapping"]})):
        folder = root / parent / f"{split}{year}"
        folder.mkdir(parents=True)
        images, annotations = [], []
        for number, name in enumerate(sorted(part, reverse=True), 7):
            file = f"COCO_{split}2014_{name}.jpg" if year == 2014 else f"{name}.jpg"
            Image.new("RGB", (WIDTH, HEIGHT)).save(folder / file)
            images.append({"id": number, "file_name": file, "height": HEIGHT, "width": WIDTH})
            annotations.append(
                [
                    {"image_id": number, "category_id": category, "segmentation": region, "iscrowd": crowd}
                    for category, region, crowd in part[name]
                ]
            )
        longest = max(map(len, annotations))
        mixed = [row[i] for i in range(longest) for row in annotations if i < len(row)]
        table = root / "annotations" / f"instances_{split}{year}.json"
        table.parent.mkdir(exist_ok=True)
        table.write_text(json.dumps({"images": images, "annotations": mixed, "categories": CATEGORIES}))


def edit(root: Path, **changes: Any) -> None:
    """Change the first annotation of the 2017 training split."""
    table = root / "annotations" / "instances_train2017.json"
    content = json.loads(table.read_text())
    content["annotations"][0] |= changes
    table.write_text(json.dumps(content))


def read(root: Path, folder: Path, **changes: Any) -> Dataset:
    config = CONFIG.model_copy(update=changes)
    return coco.read(config, [root], folder, Path("elsewhere/prepared"))


@pytest.mark.parametrize(("year", "parent"), [(2014, "JPEGImages"), (2017, "")])
def test_synthetic_coco(tmp_path: Path, year: int, parent: str) -> None:
    root, folder = tmp_path / "raw", tmp_path / "folder"
    make(root, year, parent, OBJECTS)
    dataset = read(root, folder)
    prefix = "COCO_train2014_" if year == 2014 else ""
    train = dataset.splits["train"]
    assert [s.name for s in train] == [prefix + name for name in sorted(PAINTED)]
    assert [s.name.removeprefix("COCO_val2014_") for s in dataset.splits["val"]] == ["overlapping"]
    for sample in train:
        painted, labels = PAINTED[sample.name.removeprefix(prefix)]
        assert sample.image == root / parent / f"train{year}" / f"{sample.name}.jpg"
        assert sample.mask == Path("elsewhere/prepared/masks/train") / f"{sample.name}.png"
        written = read_mask(folder / "masks" / "train" / f"{sample.name}.png")
        np.testing.assert_array_equal(written, painted, err_msg=sample.name)
        assert sample.labels == labels
    assert not (folder / "masks" / "train" / f"{prefix}empty.png").exists()


def test_2014_is_read_where_both_years_are_there(tmp_path: Path) -> None:
    make(tmp_path / "raw", 2017, "", {"crowd": OBJECTS["crowd"]})
    make(tmp_path / "raw", 2014, "images", {"hidden": OBJECTS["hidden"]})
    train = read(tmp_path / "raw", tmp_path / "folder").splits["train"]
    assert [sample.name for sample in train] == ["COCO_train2014_hidden"]


def test_another_archive_in_the_folder_and_links_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Archives of test images, of old annotations, of what is there; training images lie elsewhere."""
    monkeypatch.chdir(tmp_path)
    source = Path("source")
    make(source, 2014, "", {"hidden": OBJECTS["hidden"]})
    (source / "train2014").rename("store")
    (source / "train2014").symlink_to(Path.cwd() / "store")
    (source / "train2014" / "back").symlink_to(Path.cwd() / source)  # a circle
    for name, member in {
        "backup": "backup/annotations/instances_train2014.json",
        "test2014": "test2014/a.jpg",
        "train2014": "train2014/COCO_train2014_hidden.jpg",
    }.items():
        with zipfile.ZipFile(source / f"{name}.zip", "w") as file:
            file.writestr(member, "of no use")
    config = CONFIG.model_copy(update={"source": str(source)})
    download("coco", config, Path("raw.json"))
    assert read_json(Path("raw.json"))["roots"] == ["source", "raw/unpacked"]
    unpacked = {path.name for path in Path("raw/unpacked").iterdir() if not path.name.startswith(".")}
    assert unpacked == {"backup", "test2014"}
    prepare("coco", config, Path("raw.json"), Path("out"))
    (sample,) = load_split(Path("out"), "train").samples
    assert sample.image == source / "train2014/COCO_train2014_hidden.jpg"


def test_years_are_never_mixed(tmp_path: Path) -> None:
    make(tmp_path, 2014, "", OBJECTS)
    make(tmp_path, 2017, "", OBJECTS)
    (tmp_path / "annotations" / "instances_val2014.json").unlink()
    (tmp_path / "annotations" / "instances_train2017.json").unlink()
    with pytest.raises(UserError, match="nor both of 2017"):
        read(tmp_path, tmp_path / "folder")


def test_classes_are_those_of_coco() -> None:
    # COCO's published gaps.
    assert set(range(1, 91)) - set(coco.CATEGORIES) == {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    assert list(coco.CLASS) == sorted(coco.CLASS)
    assert list(coco.CLASS.values()) == list(range(1, 81))
    assert (coco.CATEGORIES[1], coco.CATEGORIES[44], coco.CATEGORIES[90]) == (
        "person",
        "bottle",
        "toothbrush",
    )


@pytest.mark.parametrize("seed", range(4))
def test_compressed_run_lengths(seed: int) -> None:
    there = np.random.default_rng(seed).random((HEIGHT, WIDTH)) < 0.02 if seed else rectangle(4, 3, 9, 30)
    encoded = rle.encode(np.asfortranarray(there.astype(np.uint8)))
    encoded["counts"] = encoded["counts"].decode()
    mask, labels = paint(CONFIG, HEIGHT, WIDTH, [Object(9, encoded)])
    np.testing.assert_array_equal(mask, there * 9)
    assert labels == (9,)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[None, 1, 2, 3, 4, 5]], "far outside"),
        ([[1, 1, 9, 1, 9, 9], [float("nan"), 1, 2, 3, 4, 5]], "far outside"),
        ([[1e9, 1, 2, 3, 4, 5]], "far outside"),
        ([["a", 1, 2, 3, 4, 5]], "could not convert"),
        ([[1, 1, 9, 1, 9, 9, 1]], "cannot reshape"),
        ([3, 4], "cannot reshape"),
        (None, "no segmentation"),
        ({"size": [HEIGHT, WIDTH]}, "no segmentation"),
        ({"size": [WIDTH, HEIGHT], "counts": [0, HEIGHT * WIDTH]}, "of size"),
        ({"size": [HEIGHT, WIDTH], "counts": [0, 10**9]}, "pixels, not 2000"),
        ({"size": [HEIGHT, WIDTH], "counts": [3, 5]}, "pixels, not 2000"),
        ({"size": [HEIGHT, WIDTH], "counts": [-5, 2005]}, "no segmentation"),
        ({"size": [HEIGHT, WIDTH], "counts": "zzz~~~"}, "a string that is none"),
        ({"size": [HEIGHT, WIDTH], "counts": "oo"}, "ends too early"),
        ({"size": [HEIGHT, WIDTH], "counts": "35"}, "pixels, not 2000"),
        ({"size": [HEIGHT, WIDTH], "counts": 7}, "no segmentation"),
    ],
    ids=str,
)
def test_what_is_no_segmentation(segmentation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paint(CONFIG, HEIGHT, WIDTH, [Object(1, segmentation)])


@pytest.mark.parametrize(
    ("crowd", "values", "labels"),
    [("paint", {0, 1, 17}, (1, 17)), ("skip", {0, 17}, (17,)), ("ignore", {0, 17, 255}, (17,))],
)
def test_the_rule_for_crowds(tmp_path: Path, crowd: str, values: set[int], labels: tuple[int, ...]) -> None:
    """`alone` holds nothing but a crowd: without it, there is no object left."""
    mixed = [*OBJECTS["crowd"], (18, polygon(5, 5, 4, 4), 0)]
    make(tmp_path / "raw", 2017, "", {"mixed": mixed, "alone": OBJECTS["crowd"]})
    train = read(tmp_path / "raw", tmp_path / "folder", crowd=crowd).splits["train"]
    assert {s.name: s.labels for s in train} == {"mixed": labels} | (
        {"alone": (1,)} if crowd == "paint" else {}
    )
    mask = read_mask(tmp_path / "folder/masks/train/mixed.png")
    assert set(np.unique(mask)) == values
    crowded = (rectangle(3, 4, 30, 9) | rectangle(20, 20, 6, 7)) & ~rectangle(5, 5, 4, 4)
    assert (mask[crowded] == {"paint": 1, "skip": 0, "ignore": 255}[crowd]).all()
    assert (mask[rectangle(5, 5, 4, 4)] == 17).all()
    assert (tmp_path / "folder/masks/train/alone.png").exists() == (crowd == "paint")


def test_images_of_every_kind(tmp_path: Path) -> None:
    """Grey and CMYK images are read as RGB; one with an EXIF orientation as it is stored: masks are."""
    names = ("grey", "cmyk", "turned", "plain")
    make(tmp_path, 2014, "images", dict.fromkeys(names, OBJECTS["overlapping"]))
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT // 8, WIDTH // 10, 3), np.uint8)
    picture = Image.fromarray(noise).resize((WIDTH, HEIGHT))
    for name, mode in {"grey": "L", "cmyk": "CMYK", "turned": "RGB", "plain": "RGB"}.items():
        path = tmp_path / "images/train2014" / f"COCO_train2014_{name}.jpg"
        picture.convert(mode).save(path, quality=95, exif=exif if name == "turned" else Image.Exif())
    write_json(tmp_path / "raw.json", {"kind": "coco", "roots": [str(tmp_path)]})
    prepare("coco", CONFIG, tmp_path / "raw.json", tmp_path / "out")
    for sample in load_split(tmp_path / "out", "train").samples:
        image, expected = read_image(sample.image), np.asarray(picture)
        if sample.name.endswith("grey"):
            expected = np.asarray(picture.convert("L").convert("RGB"))
        assert image.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(image.astype(int) - expected).mean() < 8, sample.name
        assert sample.mask is not None
        np.testing.assert_array_equal(read_mask(sample.mask), PAINTED["overlapping"][0])


def test_objects_too_small_are_left_out(tmp_path: Path) -> None:
    objects = {
        "a": [(1, polygon(5, 5, 4, 4), 0), (18, polygon(20, 5, 5, 4), 0)],
        "b": [(1, polygon(5, 5, 1, 1), 0)],
    }
    make(tmp_path / "raw", 2017, "", objects)
    train = read(tmp_path / "raw", tmp_path / "folder", min_area=17).splits["train"]
    assert [(s.name, s.labels) for s in train] == [("a", (17,))]
    mask = read_mask(tmp_path / "folder/masks/train/a.png")
    np.testing.assert_array_equal(mask, rectangle(20, 5, 5, 4) * 17)
    assert len(read(tmp_path / "raw", tmp_path / "folder", min_area=16).splits["train"][0].labels or ()) == 2


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    make(root, 2017, "", {"crowd": OBJECTS["crowd"], "hidden": OBJECTS["hidden"]})
    edit(root, segmentation={"size": [1, 1], "counts": [1]})
    table = root / "annotations" / "instances_val2017.json"
    table.write_text(table.read_text().replace('"category_id": 18', '"category_id": 12'))
    found = read(root, tmp_path / "folder")
    assert [(p.split, p.name, str(p)) for p in found.problems] == [
        (
            "train",
            "hidden",
            f"{root}/train2017/hidden.jpg: its annotations cannot be painted "
            "(run lengths of size [1, 1], not [40, 50])",
        ),
        ("val", "overlapping", f"{table}: overlapping: category 12 is none of the file's categories"),
    ]
    assert [s.name for s in found.splits["train"]] == ["crowd"]


def test_annotations_of_another_kind(tmp_path: Path) -> None:
    make(tmp_path, 2017, "", OBJECTS)
    captions = {"images": [], "annotations": [{"image_id": 1, "caption": "a dog"}], "categories": []}
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(captions))
    with pytest.raises(UserError, match=r"instances_val2017\.json: holds no COCO instance annotations"):
        read(tmp_path, tmp_path / "folder")


def drawn(height: int, width: int, annotations: list[Annotation]) -> NDArray[np.uint8]:
    """The mask by PIL's polygons and numpy's run lengths; the class by rank among the file's categories."""
    mask = np.zeros((height, width), np.uint8)
    for annotation in annotations:
        segmentation = annotation["segmentation"]
        if isinstance(segmentation, list):
            canvas = Image.new("1", (width * FINER, height * FINER))
            pen = ImageDraw.Draw(canvas)
            for points in segmentation:
                pen.polygon([FINER * value for value in points], fill=1)
            there = np.asarray(canvas)[FINER // 2 :: FINER, FINER // 2 :: FINER]
        else:
            counts = segmentation["counts"]
            there = np.repeat(np.arange(len(counts)) % 2, counts).reshape(width, height).T == 1
        mask[there] = annotation["class"]
    return mask


def border(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels that touch, be it by a corner, a pixel of another class."""
    edge: NDArray[np.bool_] = maximum_filter(mask, 3) != minimum_filter(mask, 3)
    return edge


def by_name(root: Path, split: str) -> dict[str, tuple[Annotation, list[Annotation]]]:
    """Image's name -> (the image, its annotations) of a real annotation file, with `class` added."""
    content = json.loads((root / "annotations" / f"instances_{split}2017.json").read_text())
    rank = {category: n for n, category in enumerate(sorted(c["id"] for c in content["categories"]), 1)}
    images = {image["id"]: (image, list[Annotation]()) for image in content["images"]}
    for annotation in content["annotations"]:
        images[annotation["image_id"]][1].append(annotation | {"class": rank[annotation["category_id"]]})
    return {Path(image["file_name"]).stem: (image, found) for image, found in images.values()}


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="../shared/data/coco/tiny_coco is absent")
def test_real_masks_against_pil(tmp_path: Path) -> None:
    write_json(tmp_path / "raw.json", {"kind": "coco", "roots": [str(REAL)]})
    prepare("coco", CONFIG, tmp_path / "raw.json", tmp_path / "out")
    pixels = off = edges = 0
    counts = {}
    for split in ("train", "val"):
        samples = load_split(tmp_path / "out", split).samples
        counts[split] = len(samples)
        images = by_name(REAL, split)
        assert {s.name for s in samples} == {name for name, (_, found) in images.items() if found}
        for sample in samples:
            image, annotations = images[sample.name]
            assert sample.mask is not None
            mask = read_mask(sample.mask)
            expected = drawn(image["height"], image["width"], annotations)
            differ = mask != expected
            edge = border(mask) | border(expected)
            assert not (differ & ~edge).any(), sample.name
            assert sample.labels == tuple(sorted({a["class"] for a in annotations}))
            assert set(np.unique(mask)) - {0} <= set(sample.labels) <= set(range(1, 81))
            pixels, off, edges = pixels + mask.size, off + differ.sum(), edges + edge.sum()
        card = read_card(tmp_path / "out", split)
        print(
            split,
            {row["class"]: row["images"] for row in card["classes"] if row["images"]},
            card["disagreements"],
        )
        for row in card["classes"]:
            number = coco.CLASS[next(k for k, name in coco.CATEGORIES.items() if name == row["class"])]
            assert row["images"] == sum(
                any(a["class"] == number for a in annotations) for _, annotations in images.values()
            )
    print(f"{off / pixels:.3%} of the pixels differ, {edges / pixels:.3%} are border")
    assert counts == {"train": 49, "val": 48}
    assert off / pixels < 0.005
