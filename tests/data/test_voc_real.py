"""VOC's real masks and lists: the splits derived from them, and what `prepare` says of all 12,031.

The images are not here: blank ones of the masks' sizes stand in for them.
"""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from unia.data.card import read_card
from unia.data.samples import load_split, read_image, read_mask, write_label
from unia.files import write_json
from unia.recipe import VocData
from unia.steps.prepare import prepare

REAL = Path(__file__).parents[3] / "shared" / "data" / "voc"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL.is_dir(), reason="needs the real masks and lists in ../shared/data/voc"),
]
PLACE = Path("voc/VOCdevkit/VOC2012")


def published(split: str) -> list[str]:
    return (REAL / "ImageSets" / f"{split}.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masks")
    with zipfile.ZipFile(REAL / "SegmentationClassAug.zip") as file:
        file.extractall(folder)
    return folder / "SegmentationClassAug"


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with VOC's own lists, in the raw data that the step download would describe."""
    monkeypatch.chdir(tmp_path)
    for part in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        (PLACE / part).mkdir(parents=True)
    write_json(Path("raw.json"), {"kind": "voc", "roots": ["voc"]})
    (PLACE / "ImageSets/Segmentation/val.txt").write_bytes((REAL / "ImageSets/val.txt").read_bytes())
    return tmp_path


def stand_ins(masks: list[Path]) -> None:
    """A blank JPEG of its size for each mask; those of one size are one file."""
    blank: dict[tuple[int, int], Path] = {}
    for mask in masks:
        with Image.open(mask) as opened:
            size = opened.size
        path = PLACE / "JPEGImages" / f"{mask.stem}.jpg"
        if size in blank and blank[size].stat().st_nlink < 1000:
            path.hardlink_to(blank[size])
        else:
            Image.new("RGB", size).save(path)
            blank[size] = path


def prepared(augmented: str) -> Path:
    data = VocData.model_validate(
        {"kind": "voc", "source": "voc", "augmented": augmented, "labels": "masks", "problems": "stop"}
    )
    prepare("voc", data, Path("raw.json"), Path("out"))
    return Path("out")


def test_all_masks_pass_and_give_the_published_lists(masks: Path, lists: Path) -> None:
    (lists / "voc/SegmentationClassAug").symlink_to(masks)
    every = sorted(masks.iterdir())
    assert len(every) == 12_031
    stand_ins(every)
    out = prepared("zip")
    for split, name, count in (("train", "train_aug", 10_582), ("val", "val", 1_449)):
        samples = load_split(out, split).samples
        assert [sample.name for sample in samples] == published(name)
        assert len(samples) == count
        card = read_card(out, split)
        assert card["disagreements"]["images"] == card["left_out"] == 0
        assert (card["images"], card["masks"]) == (count, count)
        for sample in samples[::97]:
            assert sample.mask is not None
            values = set(np.unique(read_mask(sample.mask)).tolist())
            assert sample.labels == tuple(sorted(values - {0, 255}))


def test_vocs_own_masks_give_its_own_list(masks: Path, lists: Path) -> None:
    """Its 2,913 masks, none of SBD's: 1,464 images to train."""
    own = [masks / f"{name}.png" for split in ("train", "val") for name in published(split)]
    for mask in own:
        (PLACE / "SegmentationClass" / mask.name).symlink_to(mask)
    stand_ins(own)
    (lists / "voc/dataset/cls").mkdir(parents=True)
    names = [sample.name for sample in load_split(prepared("sbd"), "train").samples]
    assert names == published("train")
    assert len(names) == 1_464


def test_sbd_gives_the_same_masks(masks: Path, lists: Path) -> None:
    """200 masks as .mat files in SBD's format, beside 20 of VOC's own."""
    own = published("train")[:10] + published("val")[:10]
    (PLACE / "ImageSets/Segmentation/val.txt").write_text("\n".join(published("val")[:10]))
    sbd = sorted(set(published("train_aug")) - set(published("train")))[::40][:200]
    for name in own:
        (PLACE / "SegmentationClass" / f"{name}.png").symlink_to(masks / f"{name}.png")
    (lists / "voc/benchmark_RELEASE/dataset/cls").mkdir(parents=True)
    for name in sbd:
        label = read_mask(masks / f"{name}.png")
        content = {"Segmentation": label, "Boundaries": np.zeros((20, 1), object), "CategoriesPresent": 1}
        savemat(
            lists / f"voc/benchmark_RELEASE/dataset/cls/{name}.mat", {"GTcls": content}, do_compression=True
        )
    stand_ins([masks / f"{name}.png" for name in (*own, *sbd)])
    out = prepared("sbd")
    train = load_split(out, "train").samples
    assert [sample.name for sample in train] == sorted([*own[:10], *sbd])
    for sample in train:
        assert sample.mask is not None
        assert np.array_equal(read_mask(sample.mask), read_mask(masks / f"{sample.name}.png")), sample.name
    assert sum(sample.mask.parent == out / "masks" for sample in train if sample.mask) == len(sbd) == 200


def test_masks_written_again_look_the_same(masks: Path, tmp_path: Path) -> None:
    for mask in sorted(masks.iterdir())[::600]:
        write_label(tmp_path / "again.png", read_mask(mask))
        assert np.array_equal(read_image(tmp_path / "again.png"), read_image(mask))  # VOC's colours
