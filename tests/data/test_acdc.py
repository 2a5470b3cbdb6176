"""ACDC's slices against the NIfTI arrays they come from; the split by patient and group."""

from collections import Counter, defaultdict
from itertools import cycle
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform
from numpy.typing import NDArray
from PIL import Image

from unia.data import acdc
from unia.data.samples import Dataset, Sample, load_split, read_mask
from unia.errors import UserError
from unia.recipe import AcdcData, Tile
from unia.steps.download import download
from unia.steps.prepare import prepare

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "acdc"
TILE = Tile(side=6, stride=4, presence=5)
FINAL = Path("elsewhere/prepared")


def config(**changes: Any) -> AcdcData:
    values: dict[str, Any] = {
        "source": None,
        "target": "classes",
        "val_fraction": 0.2,
        "seed": 0,
        "split_by": "patient",
    }
    values |= {"percentiles": (1.0, 99.0), "tags": "slice", "tile": TILE}
    return AcdcData(kind="acdc", **(values | changes))


def make_patient(part: Path, number: int, group: str) -> Path:
    """A patient with two volumes of another size each, anisotropic, so that no axis passes for another."""
    rng = np.random.default_rng(number)
    folder = part / f"patient{number:03d}"
    folder.mkdir(parents=True)
    ends = {"ED": 1, "ES": 7 + number % 5}
    about = "\n".join(
        [*(f"{end}: {frame}" for end, frame in ends.items()), f"Group: {group}", "Height: 180.0"]
    )
    (folder / "Info.cfg").write_text(about + "\n")
    for depth, frame in enumerate(ends.values(), 2):
        shape = (12 + number % 3, 9, depth)
        name = f"{folder.name}_frame{frame:02d}"
        intensity = rng.gamma(2, 100, shape).astype(np.int16)
        truth = rng.integers(0, 4, shape).astype(np.uint8)
        truth[:, :, 0] = 0
        truth[:, :, 1] = np.minimum(truth[:, :, 1], 1) * 2
        nibabel.save(nibabel.Nifti1Image(intensity, np.eye(4)), folder / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(truth, np.eye(4)), folder / f"{name}_gt.nii.gz")
    return folder


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three patients to train with and one to test, deep below the root."""
    root = tmp_path / "raw"
    for number, group in enumerate(("NOR", "DCM", "DCM"), 1):
        make_patient(root / "ACDC" / "database" / "training", number, group)
    make_patient(root / "ACDC" / "database" / "testing", 101, "RV")
    return root


def volumes(samples: list[Sample]) -> dict[str, list[Sample]]:
    found = defaultdict(list)
    for sample in samples:
        assert sample.volume is not None
        found[sample.volume].append(sample)
    return found


def patients(dataset: Dataset, split: str) -> set[str]:
    return {sample.name.partition("_")[0] for sample in dataset.splits[split]}


def array(root: Path, name: str) -> NDArray[Any]:
    """A NIfTI array as nibabel gives it."""
    (path,) = root.rglob(f"{name}.nii.gz")
    return np.asarray(nibabel.load(path).dataobj)


def written(folder: Path, recorded: Path | None) -> Path:
    assert recorded is not None
    return folder / recorded.relative_to(FINAL)


def check_going_back(dataset: Dataset, root: Path, folder: Path, window: tuple[float, float]) -> int:
    """Masks give the ground truth back bit for bit, images the intensities; returns how many volumes."""
    count = 0
    for samples in dataset.splits.values():
        for name, slices in volumes(list(samples)).items():
            truth, intensity = array(root, f"{name}_gt"), array(root, name).astype(np.float64)
            assert [s.name for s in slices] == [f"{name}_slice{z:02d}" for z in range(truth.shape[2])]
            back = acdc.volume_of([read_mask(written(folder, s.mask)) for s in slices])
            np.testing.assert_array_equal(back, truth, strict=True)
            low, high = np.percentile(intensity, window)
            images = [Image.open(written(folder, s.image)) for s in slices]
            assert {image.mode for image in images} == {"L"}
            grey = acdc.volume_of([np.asarray(image) for image in images]).astype(np.float64)
            cut = intensity.clip(low, high)
            assert np.abs(grey / 255 * (high - low) + low - cut).max() <= (high - low) / 255 * 0.501
            for z, sample in enumerate(slices):
                assert sample.labels == tuple(k for k in np.unique(truth[:, :, z]).tolist() if k)
            count += 1
    return count


def test_slices_and_the_way_back(raw: Path, tmp_path: Path) -> None:
    dataset = acdc.read(config(), [raw], tmp_path / "folder", FINAL)
    assert check_going_back(dataset, raw, tmp_path / "folder", (1, 99)) == 8
    assert dataset.classes == ("RV", "Myo", "LV")
    assert dataset.unions == {"heart": (1, 2, 3)}
    assert {s: patients(dataset, s) for s in dataset.splits} == {
        "train": {"patient001", "patient002", "patient003"},
        "val": set(),  # a fifth of two patients is none
        "test": {"patient101"},
    }
    first = dataset.splits["train"][0]
    assert first.image == FINAL / "images" / "patient001_frame01_slice00.png"
    assert first.mask == FINAL / "masks" / "patient001_frame01_slice00.png"
    assert {s.labels for s in dataset.splits["train"]} == {(), (2,), (1, 2, 3)}


def test_heart_is_the_union(raw: Path, tmp_path: Path) -> None:
    dataset = acdc.read(config(target="heart"), [raw], tmp_path / "folder", FINAL)
    assert dataset.classes == ("heart",)
    assert dataset.unions == {}
    for name, slices in volumes(list(dataset.splits["train"])).items():
        back = acdc.volume_of([read_mask(written(tmp_path / "folder", s.mask)) for s in slices])
        np.testing.assert_array_equal(back, array(raw, f"{name}_gt") > 0)
        assert [s.labels for s in slices] == [(1,) if back[:, :, z].any() else () for z in range(len(slices))]


@pytest.mark.parametrize(("target", "members"), [("LV", (3,)), ("RV+Myo", (1, 2))])
def test_one_class_or_a_union_can_be_the_target(
    target: str, members: tuple[int, ...], raw: Path, tmp_path: Path
) -> None:
    dataset = acdc.read(config(target=target), [raw], tmp_path / "folder", FINAL)
    assert (dataset.classes, dataset.unions) == ((target,), {})
    for name, samples in volumes(list(dataset.splits["train"])).items():
        for index, sample in enumerate(samples):
            assert sample.mask is not None
            expected = np.isin(array(raw, f"{name}_gt")[:, :, index].T, members)
            assert (read_mask(tmp_path / "folder" / sample.mask.relative_to(FINAL)) == expected).all()
            assert sample.labels == ((1,) if expected.any() else ())


def test_c_cams_split_is_by_volume_and_says_that_it_leaks(raw: Path, tmp_path: Path) -> None:
    make_patient(raw / "ACDC" / "database" / "training", 13, "HCM")
    make_patient(raw / "ACDC" / "database" / "training", 6, "HCM")
    dataset = acdc.read(config(split_by="volume-ccam"), [raw], tmp_path / "folder", FINAL)
    held = {split: set(volumes(list(samples))) for split, samples in dataset.splits.items()}
    assert held["val"] == {"patient006_frame01", "patient013_frame01"}
    assert {"patient006_frame08", "patient013_frame10", "patient001_frame01"} <= held["train"]
    assert held["test"] == {"patient101_frame01", "patient101_frame08"}
    assert dataset.protocol == "slices; split by volume as C-CAM, which leaks"


@pytest.mark.skipif(not REAL.is_dir(), reason="needs C-CAM's lists in ../shared/data/acdc")
def test_c_cams_list_is_the_published_one() -> None:
    lines = (REAL / "volume_ccam" / "test_all_acdc.txt").read_text().split("\n")
    listed = {line.removeprefix("patient").partition("_0_")[0] for line in lines if line.strip()}
    assert listed == acdc.C_CAM_TEST


def test_tags_of_tiles(raw: Path, tmp_path: Path) -> None:
    """Training sees tiles, tagged by what is in them; evaluation the same whole slices as ever."""
    for target in ("classes", "heart"):
        slices = acdc.read(config(target=target), [raw], tmp_path / "slices", FINAL)
        dataset = acdc.read(config(target=target, tags="tile"), [raw], tmp_path / "tiles", FINAL)
        assert (slices.protocol, slices.tile) == ("slices", None)
        assert (dataset.protocol, dataset.tile) == ("tiles of 6 px every 4", 6)
        assert dataset.splits["test"] == slices.splits["test"]
        assert [s.name for s in dataset.splits["train"]] == sorted(s.name for s in dataset.splits["train"])
        expected = 0
        for whole in slices.splits["train"]:
            label = read_mask(written(tmp_path / "slices", whole.mask))
            picture = np.asarray(Image.open(written(tmp_path / "slices", whole.image)))
            cut = [s for s in dataset.splits["train"] if s.name.startswith(whole.name)]
            for sample in cut:
                top, left = (int(part[1:]) for part in sample.name.removeprefix(whole.name)[1:].split("_"))
                part = slice(top, top + 6), slice(left, left + 6)
                image = np.asarray(Image.open(written(tmp_path / "tiles", sample.image)))
                np.testing.assert_array_equal(image, picture[part])
                assert image.shape == (6, 6)
                present = tuple(k for k in (1, 2, 3) if (label[part] == k).sum() >= TILE.presence)
                assert sample.labels == present
                assert (sample.mask, sample.volume) == (None, None)
            expected += len(range(0, label.shape[0] - 6, 4)) * len(range(0, label.shape[1] - 6, 4))
            expected += len(range(0, label.shape[0] - 6, 4)) + len(range(0, label.shape[1] - 6, 4)) + 1
        assert len(dataset.splits["train"]) == expected
        seen = {s.labels for s in dataset.splits["train"]}
        assert seen >= ({(), (1,)} if target == "heart" else {(), (2,), (1, 2, 3)})


def test_tiles_that_are_blank_alike_are_no_pictures_held_twice(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan is black around the body."""
    monkeypatch.chdir(tmp_path)
    for path in raw.rglob("*frame??.nii.gz"):
        values = np.asarray(nibabel.load(path).dataobj).copy()
        values[:8] = 0
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    data = config(source="raw", tags="tile", duplicates="refuse", val_fraction=0.5)
    download("acdc", data, Path("raw.json"))
    prepare("acdc", data, Path("raw.json"), Path("out"))
    images = [sample.image.read_bytes() for sample in load_split(Path("out"), "train").samples]
    assert len(set(images)) < len(images)
    assert not Path("out/duplicates.csv").exists()


def test_rows_are_y_and_columns_x() -> None:
    volume = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    image = acdc.slice_of(volume, 1)
    assert image.shape == (3, 2)
    assert image[2, 0] == volume[0, 2, 1]
    back = acdc.volume_of([acdc.slice_of(volume, z) for z in range(4)])
    np.testing.assert_array_equal(back, volume)


def split(root: Path, **changes: Any) -> dict[str, list[str]]:
    """Split -> names of its patients, without reading a volume."""
    found, problems = acdc._volumes(config(**changes), [root])
    assert not problems
    return {name: sorted({v.image.parent.name for v in members}) for name, members in found.items()}


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """20 patients of each group, their numbers mixed; Info.cfg only."""
    for number in range(100):
        folder = tmp_path / "many" / "training" / f"patient{number:03d}"
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text(f"ED: 1\nES: 9\nGroup: {acdc.GROUPS[number * 7 % 5]}\n")
    return tmp_path / "many"


def test_split_is_by_patient_and_stratified(many: Path) -> None:
    parts = split(many, val_fraction=0.25)
    assert set(parts) == {"train", "val"}
    assert not set(parts["train"]) & set(parts["val"])
    assert len({*parts["train"], *parts["val"]}) == 100
    groups = Counter(acdc._about(many / "training" / name)[0] for name in parts["val"])
    assert groups == dict.fromkeys(acdc.GROUPS, 5)


def test_split_follows_the_seed_alone(many: Path) -> None:
    before = split(many)
    assert split(many) == before
    assert split(many, seed=1) != before
    # Patients of one group say nothing about another's.
    for number in range(100):
        if number * 7 % 5 == 0:
            (many / "training" / f"patient{number:03d}" / "Info.cfg").unlink()
            (many / "training" / f"patient{number:03d}").rmdir()
    rest = set(split(many)["val"])
    assert rest == {name for name in before["val"] if int(name[-3:]) * 7 % 5}


def test_all_problems_are_told_at_once(raw: Path, tmp_path: Path) -> None:
    one, two, three = (raw / "ACDC" / "database" / "training" / f"patient00{n}" for n in (1, 2, 3))
    (one / "patient001_frame01_gt.nii.gz").unlink()
    volume = one / "patient001_frame08.nii.gz"
    volume.write_bytes(volume.read_bytes()[:200])
    for name, values in (
        ("patient002_frame01_gt", np.full((14, 9, 2), 4, np.uint8)),
        ("patient002_frame09_gt", np.zeros((9, 14, 3), np.uint8)),
    ):
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), two / f"{name}.nii.gz")
    (three / "Info.cfg").write_text("ED: 1\nES: 10\nGroup: none\n")
    broken = raw / "ACDC" / "database" / "testing" / "patient101"
    (broken / "Info.cfg").unlink()
    found = acdc.read(config(), [raw], tmp_path / "folder", FINAL)
    message = "; ".join(map(str, found.problems))
    assert len(found.problems) == 6
    assert all(problem.name for problem in found.problems)  # so that they can be left out
    assert patients(found, "train") == set()
    assert f"{one / 'patient001_frame01_gt.nii.gz'}: cannot be read" in message
    assert f"{volume}: cannot be read" in message
    assert f"{two / 'patient002_frame01_gt.nii.gz'}: holds [4], classes are 1..3" in message
    assert f"{two / 'patient002_frame09_gt.nii.gz'}: is (9, 14, 3), its volume (14, 9, 3)" in message
    assert f"{three / 'Info.cfg'}: Group must be one of NOR, MINF, DCM, HCM, RV (it is 'none')" in message
    assert f"{broken / 'Info.cfg'}: must name ED, ES and Group" in message
    assert "\n" not in message


def test_the_two_frames_must_differ(raw: Path) -> None:
    path = raw / "ACDC" / "database" / "training" / "patient001" / "Info.cfg"
    path.write_text(path.read_text().replace("ES: 8", "ES: 1"))
    _, problems = acdc._volumes(config(), [raw])
    assert [str(problem) for problem in problems] == [f"{path}: ED and ES are the same frame, 1"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 5, 2), np.int16), "every intensity"),
        (np.zeros((4, 5, 2, 2), np.int16), "must be X x Y x Z"),
        (np.full((4, 5, 2), np.nan, np.float32), "40 of its 40 voxels are NaN or infinite; replace them"),
        (np.zeros((4, 5, 0), np.int16), "must be X x Y x Z"),
        (np.zeros((4, 5, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "cannot be read"),
    ],
)
def test_volumes_without_a_picture(tmp_path: Path, values: NDArray[Any], message: str) -> None:
    path = tmp_path / "volume.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    with pytest.raises(UserError, match=message):
        acdc._grey(path, acdc._load(path)[0], config())


def test_no_patients_or_the_same_twice(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no training/patientNNN"):
        acdc.read(config(), [tmp_path / "nowhere"], tmp_path / "folder", FINAL)
    make_patient(raw / "copy" / "training", 2, "NOR")
    with pytest.raises(UserError, match="holds patient002 more than once"):
        acdc.read(config(), [raw], tmp_path / "folder", FINAL)


def test_labels_in_another_orientation_are_turned_to_their_volume(raw: Path, tmp_path: Path) -> None:
    """Scans are RAS here; tools write the same labels with other axes first, or in other directions."""
    orders, truths = cycle(["LPI", "RAI", "ARS", "SPL", "RAS"]), {}
    for path, order in zip(sorted(raw.rglob("*_gt.nii.gz")), orders, strict=False):
        truth = nibabel.load(path)
        truths[path.name.removesuffix("_gt.nii.gz")] = np.asarray(truth.dataobj)
        turn = ornt_transform(nibabel.io_orientation(truth.affine), axcodes2ornt(order))
        nibabel.save(truth.as_reoriented(turn), path)
        assert nibabel.aff2axcodes(nibabel.load(path).affine) == tuple(order)
    found = acdc.read(config(), [raw], tmp_path / "folder", FINAL)
    assert not found.problems
    for split in ("train", "test"):
        for name, slices in volumes(list(found.splits[split])).items():
            back = acdc.volume_of([read_mask(written(tmp_path / "folder", s.mask)) for s in slices])
            np.testing.assert_array_equal(back, truths.pop(name), err_msg=name)
    assert not truths


def test_labels_that_lie_elsewhere_are_a_problem(raw: Path, tmp_path: Path) -> None:
    coarser, moved, flat = np.diag([1.5, 1, 1, 1]), np.eye(4), np.diag([0.0, 0, 0, 1])
    moved[:3, 3] = 2
    for number, affine in enumerate((coarser, moved, flat), 1):
        path = next(raw.rglob(f"patient00{number}_frame01_gt.nii.gz"))
        image = nibabel.Nifti1Image(np.asarray(nibabel.load(path).dataobj), None)
        image.header.set_sform(affine, "scanner")
        nibabel.save(nibabel.Nifti1Image(image.dataobj, None, image.header), path)
    problems = acdc.read(config(), [raw], tmp_path / "folder", FINAL).problems
    reasons = {problem.name: problem.reason for problem in problems}
    assert set(reasons) == {f"patient00{number}_frame01" for number in (1, 2, 3)}
    assert reasons["patient001_frame01"].startswith("lies up to 6.0 voxels away from its volume, by their")
    assert reasons["patient002_frame01"].startswith("lies up to 2.0 voxels away")
    assert "is no orientation" in reasons["patient003_frame01"]


def test_patients_behind_links_and_in_an_archive_beside_are_found(raw: Path, tmp_path: Path) -> None:
    """Training lies on shared storage, testing in another root; circles and copies in it change nothing."""
    expected = acdc.read(config(), [raw], tmp_path / "folder", FINAL)
    source = tmp_path / "source"
    source.mkdir()
    (source / "training").symlink_to(raw / "ACDC/database/training")
    (source / "up").symlink_to(source)
    archive = tmp_path / "unpacked"
    archive.mkdir()
    (raw / "ACDC/database/testing").rename(archive / "testing")
    make_patient(archive / "training", 2, "NOR")  # an old copy: the source's own comes first
    found = acdc.read(config(), [source, archive], tmp_path / "found", FINAL)
    assert found.splits == expected.splits
    assert not found.problems


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="../shared/data/acdc is absent")
def test_real_patients(tmp_path: Path) -> None:
    dataset = acdc.read(config(percentiles=(0.0, 99.5)), [REAL], tmp_path, FINAL)
    assert check_going_back(dataset, REAL, tmp_path, (0, 99.5)) == 120
    train, val = patients(dataset, "train"), patients(dataset, "val")
    assert (len(train), len(val), train & val) == (50, 10, set())
    groups = Counter(acdc._about(next(REAL.rglob(name)))[0] for name in val)
    assert groups == dict.fromkeys(acdc.GROUPS, 2)
    slices = [sample for samples in dataset.splits.values() for sample in samples]
    print(len(slices), Counter(sample.labels for sample in slices))
