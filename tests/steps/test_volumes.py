"""Label maps put back into volumes: bit for bit, with the original's affine and header."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from unia.data import acdc
from unia.data.samples import Dataset, read_mask, write_dataset, write_label
from unia.errors import UserError
from unia.recipe import AcdcData, Tile
from unia.steps.volumes import volumes

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "acdc"
GROUPS = ("NOR", "NOR", "DCM")


def prepared(source: Path, folder: Path, **changes: Any) -> Dataset:
    tile = Tile(side=6, stride=4, presence=1)
    values: dict[str, Any] = {"target": "classes", "val_fraction": 0.5, "tags": "slice"} | changes
    config = AcdcData(
        kind="acdc",
        source=None,
        split_by="patient",
        tile=tile,
        seed=0,
        percentiles=(0.0, 100.0),
        **values,
    )
    found = acdc.read(config, [source], folder, folder)
    sums = {
        path: "" for samples in found.splits.values() for s in samples for path in (s.image, s.mask) if path
    }
    write_dataset(folder, "acdc", "acdc", found, sums)
    return found


def make_source(folder: Path) -> Path:
    """Oblique volumes of floats stored as scaled integers; the ground truth lies in the same place."""
    rng = np.random.default_rng(5)
    for number, group in enumerate(GROUPS):
        patient = folder / "training" / f"patient{number:03d}"
        patient.mkdir(parents=True)
        (patient / "Info.cfg").write_text(f"ED: 1\nES: 4\nGroup: {group}\n")
        for frame in (1, 4):
            shape = (9, 7 + frame, 3 + number)
            affine = np.eye(4)
            affine[:3] = rng.normal(size=(3, 4))
            image = nibabel.Nifti1Image(rng.gamma(2, 10, shape), affine)
            image.set_data_dtype(np.int16)
            image.header["descrip"] = b"cine"
            truth = nibabel.Nifti1Image(rng.integers(0, 4, shape).astype(np.uint8), affine)
            for volume, suffix in ((image, ""), (truth, "_gt")):
                volume.header.set_xyzt_units("mm", "sec")
                nibabel.save(volume, patient / f"{patient.name}_frame{frame:02d}{suffix}.nii.gz")
    return folder


def check(source: Path, data: Path, out: Path) -> int:
    """The ground truth's slices, put back, against the ground truth; returns how many volumes."""
    count = 0
    for split in ("train", "val"):
        volumes(data, split, data / "masks", out / split)
        for path in sorted((out / split).iterdir()):
            (original,) = source.rglob(path.name)
            (truth,) = source.rglob(path.name.replace(".nii", "_gt.nii"))
            back, expected, image = nibabel.load(path), nibabel.load(truth), nibabel.load(original)
            found = np.asarray(back.dataobj)
            assert found.dtype == np.uint8
            np.testing.assert_array_equal(found, np.asarray(expected.dataobj))
            np.testing.assert_array_equal(back.affine, expected.affine)
            for field in image.header:
                if field not in ("datatype", "bitpix", "scl_slope", "scl_inter", "cal_min", "cal_max"):
                    np.testing.assert_array_equal(back.header[field], image.header[field], err_msg=field)
            count += 1
    return count


def test_ground_truth_returns_bit_for_bit(tmp_path: Path) -> None:
    source = make_source(tmp_path / "raw")
    prepared(source, tmp_path / "data")
    assert check(source, tmp_path / "data", tmp_path / "out") == 6


@pytest.mark.slow
@pytest.mark.skipif(not REAL.exists(), reason="../shared/data/acdc is absent")
def test_ground_truth_of_real_patients_returns_bit_for_bit(tmp_path: Path) -> None:
    prepared(REAL, tmp_path / "data", val_fraction=0.2)
    assert check(REAL, tmp_path / "data", tmp_path / "out") == 120


def test_what_cannot_be_put_back_is_named(tmp_path: Path) -> None:
    source, data, out = make_source(tmp_path / "raw"), tmp_path / "data", tmp_path / "out"
    slices = prepared(source, data).splits["val"]
    label = data / "masks" / f"{slices[1].name}.png"
    whole = read_mask(label)
    write_label(label, whole[1:])
    with pytest.raises(
        UserError, match=rf"{label.name}: is 9 x {len(whole) - 1}, its slice 9 x {len(whole)}"
    ):
        volumes(data, "val", data / "masks", out)
    label.unlink()
    with pytest.raises(UserError, match=f"{label.name}: the label map is missing"):
        volumes(data, "val", data / "masks", out)
    assert slices[0].volume is not None
    acdc.header_file(data, slices[0].volume).unlink()
    with pytest.raises(UserError, match=r"\.hdr: cannot be read .* run prepare again"):
        volumes(data, "val", data / "masks", out)
    assert not out.exists()


def test_tiles_are_no_slices_of_a_volume(tmp_path: Path) -> None:
    prepared(make_source(tmp_path / "raw"), tmp_path / "data", tags="tile")
    with pytest.raises(UserError, match="of the split train is no slice of a volume"):
        volumes(tmp_path / "data", "train", tmp_path / "data" / "masks", tmp_path / "out")
