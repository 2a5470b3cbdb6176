"""Prepared datasets of any number of samples, made of those at hand."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unia.data.samples import Dataset, Sample, write_dataset


def repeated(samples: Sequence[Sample], count: int) -> list[Sample]:
    """`count` samples: the first ones, or all of them again and again under new names."""
    return [
        replace(samples[i % len(samples)], name=f"{samples[i % len(samples)].name}_{i // len(samples)}")
        for i in range(count)
    ]


def write_val(folder: Path, classes: Sequence[str], samples: Sequence[Sample]) -> None:
    """A prepared dataset in `folder` whose split val holds the samples, without checksums."""
    dataset = Dataset(tuple(classes), "", "", {"val": samples}, {})
    paths = [path for sample in samples for path in (sample.image, sample.mask) if path is not None]
    write_dataset(folder, "benchmark", "images", dataset, dict.fromkeys(paths, ""))
