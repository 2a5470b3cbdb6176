"""HD95 and ASD of every volume of a split, from the label maps of its slices."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from unia.data.acdc import header_file, volume_of
from unia.data.samples import Sample, Split, read_mask
from unia.errors import UserError
from unia.steps.parallel import for_each
from unia.surface import hd95_and_asd

Label = NDArray[np.uint8]
Read = Callable[[Sample], Label]

Distances = dict[str, dict[str, tuple[float, float] | None]]
"""kind -> class or union -> (HD95, ASD) in mm; None where prediction or truth lacks it."""


@dataclass(frozen=True)
class Volume:
    """The slices of a volume, in order, and the mm between its voxels along X, Y and Z."""

    name: str
    slices: tuple[Sample, ...]
    spacing: tuple[float, ...]


def surfaces(data: Path, about: Split, kinds: Mapping[str, Read]) -> Iterator[tuple[str, Distances]]:
    """(volume, its distances), in order of completion; nothing where the images are no slices of volumes."""
    volumes = _volumes(data, about)
    if volumes:
        groups = {name: (k,) for k, name in enumerate(about.classes, 1)} | dict(about.unions)
        work = partial(_measure, kinds, groups)
        yield from for_each(work, volumes, f"surfaces, {about.name}")


def _volumes(data: Path, about: Split) -> list[Volume]:
    slices: dict[str, list[Sample]] = defaultdict(list)
    for sample in about.samples:
        if sample.volume is not None:
            slices[sample.volume].append(sample)
    return [Volume(name, tuple(of_it), _spacing(header_file(data, name))) for name, of_it in slices.items()]


def _spacing(path: Path) -> tuple[float, ...]:
    try:
        header = nibabel.Nifti1Header(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run prepare again") from None
    return tuple(float(length) for length in header.get_zooms()[:3])


def _measure(
    kinds: Mapping[str, Read], groups: Mapping[str, Sequence[int]], volume: Volume
) -> tuple[str, Distances]:
    masks = [sample.mask for sample in volume.slices]
    truth = volume_of([read_mask(mask) for mask in masks if mask is not None])
    found: Distances = {}
    for kind, read in kinds.items():
        prediction = volume_of([read(sample) for sample in volume.slices])
        found[kind] = {
            name: _between(np.isin(prediction, members), np.isin(truth, members), volume.spacing)
            for name, members in groups.items()
        }
    return volume.name, found


def _between(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: Sequence[float]
) -> tuple[float, float] | None:
    if not prediction.any() or not truth.any():
        return None
    return hd95_and_asd(prediction, truth, spacing)
