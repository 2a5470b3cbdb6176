"""A small prepared dataset of random images and masks, with predictions to refine and to score."""

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from unia.data.acdc import header_file
from unia.data.samples import Dataset, Sample, write_dataset, write_label
from unia.files import sha256

CLASSES = ("RV", "Myo", "LV")
SPACING = (1.5, 1.25, 10.0)  # mm along X, Y, Z
KINDS = ("cam", "cam_aux", "affinity", "mutual", "seg", "seg_ms", "seg_ms_filtered")


@dataclass(frozen=True)
class Small:
    """Folders of the dataset; its split `val` has two volumes of two images, `test` no masks."""

    data: Path
    predictions: Path
    crf: Path
    names: tuple[str, ...]


def make_small(folder: Path) -> Small:
    """Write the dataset and its predictions to `folder`."""
    rng = np.random.default_rng(3)
    names = ("p1_s0", "p1_s1", "p2_s0", "p2_s1")
    small = Small(folder / "data", folder / "predictions", folder / "crf", names)
    samples = []
    labels = (small.crf, *(small.predictions / kind for kind in KINDS))
    for made in (small.data, *labels):
        made.mkdir(parents=True)
    for number, name in enumerate(names):
        image, mask = small.data / f"{name}.jpg", small.data / f"{name}.png"
        height, width = 24 + 3 * (number // 2), 32
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(image)
        label = rng.integers(0, 3 if name == "p2_s0" else 4, (height, width), dtype=np.uint8)
        label[:2] = 255
        write_label(mask, label)
        samples.append(Sample(name, image, mask, (1, 2, 3), name[:2]))
        for labelled in labels:
            noise = rng.integers(0, 4, label.shape, dtype=np.uint8)
            right = (rng.random(label.shape) < 0.6) & (label != 255)
            write_label(labelled / f"{name}.png", np.where(right, label, noise))
    for volume, height in (("p1", 24), ("p2", 27)):
        header = nibabel.Nifti1Header()
        header.set_data_shape((32, height, 2))
        header.set_zooms(SPACING)
        path = header_file(small.data, volume)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(header.binaryblock)
    unlabelled = [Sample(s.name, s.image, None, None, s.volume) for s in samples]
    splits = {"val": samples, "test": unlabelled}
    dataset = Dataset(CLASSES, "", "", splits, {"heart": (1, 2, 3)}, protocol="slices")
    files = [path for s in samples for path in (s.image, s.mask) if path is not None]
    write_dataset(small.data, "acdc", "acdc", dataset, {path: sha256(path) for path in files})
    return small
