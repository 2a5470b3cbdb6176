"""`unia volumes`: label maps of slices, put back into the NIfTI volumes that the slices come from."""

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

from unia.data.acdc import header_file, read_header, volume_of
from unia.data.samples import Sample, load_split, read_mask
from unia.errors import UserError
from unia.files import atomic
from unia.progress import track


def volumes(data: Path, split: str, labels: Path, out: Path) -> None:
    """Write `out`/<volume>.nii.gz, class ids as uint8, from the label maps `labels`/<slice>.png of a split.

    Affine and header are those of the volume that was segmented. Raises UserError, naming the file, where a
    label map is missing or is not its slice's size, and where the split's images belong to no volumes.
    """
    about = load_split(data, split)
    for sample in about.samples:
        if sample.volume is None:
            raise UserError(f"{data}: {sample.name} of the split {split} is no slice of a volume")
    slices = about.by_volume
    with atomic(out) as folder:
        folder.mkdir()
        for name, samples in track(slices.items(), f"volumes, {split}", len(slices)):
            nibabel.save(_volume(header_file(data, name), samples, labels), folder / f"{name}.nii.gz")


def _volume(header_path: Path, samples: Sequence[Sample], labels: Path) -> nibabel.Nifti1Image:
    """The volume whose slices, in order, are `samples`."""
    header = read_header(header_path)
    width, height, depth = header.get_data_shape()
    if len(samples) != depth:
        raise UserError(f"{header_path}: the volume has {depth} slices, the split {len(samples)} of them")
    maps = []
    for sample in samples:
        path = labels / f"{sample.name}.png"
        if not path.is_file():
            raise UserError(f"{path}: the label map is missing; name the folder of one kind of prediction")
        label = read_mask(path)
        if label.shape != (height, width):
            raise UserError(f"{path}: is {label.shape[1]} x {label.shape[0]}, its slice {width} x {height}")
        maps.append(label)
    header.set_data_dtype(np.uint8)
    header["cal_min"] = header["cal_max"] = 0  # the display window of the intensities
    return nibabel.Nifti1Image(volume_of(maps), None, header)
