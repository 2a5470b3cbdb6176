"""HD95 and ASD of every volume of a split, from the label maps of its slices."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unia.data.acdc import header_file, read_header, volume_of
from unia.data.samples import Sample, Split, read_mask
from unia.parallel import for_each
from unia.scoring.scores import Label
from unia.scoring.surface import hd95_and_asd

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
        work = partial(_measure, kinds, about.groups)
        yield from for_each(work, volumes, f"surfaces, {about.name}")


def _volumes(data: Path, about: Split) -> list[Volume]:
    volumes = []
    for name, slices in about.by_volume.items():
        spacing = read_header(header_file(data, name)).get_zooms()[:3]
        volumes.append(Volume(name, tuple(slices), tuple(map(float, spacing))))
    return volumes


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
