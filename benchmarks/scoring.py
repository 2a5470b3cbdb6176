"""Time and memory of `unia score` for more and more images: `python -m benchmarks.scoring MASKS`.

MASKS is a folder or a zip of label maps, for instance SegmentationClassAug.zip with `--names` VOC's val.txt.
All seven kinds of prediction of an image are its mask rolled right by 9 pixels (255 -> 0, then 15 -> 18 in
odd columns). Where more images are asked for than there are masks, these are taken again under other names.
"""

import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.memory import measured
from benchmarks.report import Row, arguments, publish
from benchmarks.samples import repeated, write_val
from unia.data.samples import Sample, read_mask, write_label
from unia.files import read_json
from unia.prediction_kinds import KINDS
from unia.progress import track
from unia.scoring.scores import scores

COCO_VAL = 40_137
SCORE = """
import sys
from pathlib import Path
from unia.prediction_kinds import KINDS
from unia.steps.score import score
place = Path(sys.argv[1])
score(place, "val", place, place / KINDS[-1], place / "scores.json", place / "images.csv")
"""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--names", type=Path, help="a list of the masks to take; all")
    parser.add_argument("--classes", type=int, default=20, help="without the background")
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1000, 10000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wanted = options.names.read_text().split() if options.names else None
        masks = found(options.masks, wanted, Path(folder) / "masks")[: max(options.images)]
        publish("scoring", curve(masks, options.classes, options.images, Path(folder)), options.save)


def curve(masks: Sequence[Path], classes: int, images: Sequence[int], folder: Path) -> list[Row]:
    """A row for each number of images; what is scored is made in `folder`."""
    shifted = folder / "shifted"
    shifted.mkdir()
    for mask in track(masks, "predictions"):
        write_label(shifted / f"{mask.stem}.png", shift(read_mask(mask)))
    known = [Sample(mask.stem, mask, mask, (1,)) for mask in masks]
    rows: list[Row] = []
    for count in images:
        place = folder / str(count)
        samples = repeated(known, count)
        write_val(place, [f"class {k}" for k in range(1, classes + 1)], samples)
        for kind in KINDS:
            (place / kind).mkdir()
            for sample in samples:
                assert sample.mask is not None
                os.link(shifted / f"{sample.mask.stem}.png", place / kind / f"{sample.name}.png")
        seconds, memory = measured(SCORE, place)
        matrix = np.array(read_json(place / "scores.json")["kinds"][KINDS[0]]["confusion"])
        rows.append(
            {
                "images": count,
                "kinds": len(KINDS),
                "classes": classes + 1,
                "seconds": round(seconds, 2),
                "peak MiB": round(memory / 2**20),
                "mIoU": round(100 * scores(matrix).miou, 4),
                "minutes for 40,137 images": round(seconds / count * COCO_VAL / 60, 1),
            }
        )
    return rows


def found(masks: Path, wanted: Sequence[str] | None, folder: Path) -> list[Path]:
    """The masks, sorted by name; those in a zip are unpacked to `folder`."""
    if masks.is_dir():
        paths = sorted(masks.rglob("*.png"))
        return [path for path in paths if wanted is None or path.stem in wanted]
    folder.mkdir()
    with zipfile.ZipFile(masks) as archive:
        inside = {Path(name).stem: name for name in archive.namelist() if name.endswith(".png")}
        names = sorted(inside if wanted is None else set(wanted) & set(inside))
        for name in names:
            (folder / f"{name}.png").write_bytes(archive.read(inside[name]))
    return [folder / f"{name}.png" for name in names]


def shift(label: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The prediction that stands in for a network's."""
    prediction = np.roll(label, 9, axis=1)
    prediction[prediction == 255] = 0
    odd = prediction[:, 1::2]
    odd[odd == 15] = 18
    return prediction


if __name__ == "__main__":
    main()
