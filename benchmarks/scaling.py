"""How cost grows with crop, batch, classes and images: `python -m benchmarks.scaling`.

Seconds of the training step for crops and for batches, of the CRF of an image for classes (the plain call and
the one on likely classes), and of scoring, with its peak memory, for images. All on generated data. Draws
benchmarks/out/scaling.png.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from benchmarks import crf, scoring
from benchmarks.report import OUT, Row, arguments, publish, timed
from benchmarks.train_step import prepare
from unia.config import load
from unia.data.samples import Sample, write_label
from unia.data.shapes import CLASSES, draw
from unia.recipe import Recipe

SIDES = (28, 35, 42)  # tokens of crop 448 at scales 1, 1.25 and 1.5
LINES = {  # of each diagram: its abscissa, and the columns drawn
    "crop": ("ms a step",),
    "batch": ("ms a step",),
    "classes": ("plain_seconds", "likely_seconds"),
    "images": ("seconds", "peak MiB"),
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--dataset", default="shapes", help="whose parameters; voc on a GPU")
    parser.add_argument("--crops", type=int, nargs="+", default=[40, 60, 80, 120])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 11, 21, 41, 81])
    parser.add_argument("--images", type=int, nargs="+", default=[100, 300, 1000, 3000])
    parser.add_argument("--size", type=int, default=320, help="side of the images for CRF and scoring")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    options = parser.parse_args()

    def recipe(*settings: str) -> Recipe:
        own = (f"datasets.{options.dataset}.{setting}" for setting in settings)
        return load(Path("params.yaml"), [*own, *options.settings]).recipe(options.dataset)

    rows: list[Row] = [
        {"crop": crop, "ms a step": step(recipe(f"train.crop={crop}"), options.repeats)}
        for crop in options.crops
    ]
    rows += [
        {"batch": batch, "ms a step": step(recipe(f"train.batch={batch}"), options.repeats)}
        for batch in options.batches
    ]
    with tempfile.TemporaryDirectory() as folder:
        samples = generated(Path(folder), 4, options.size)
        rows += [
            crf.compare(recipe().crf, samples, count, crf.synthetic(count, SIDES, margin=16))
            for count in options.classes
        ]
        masks = [sample.mask for sample in samples if sample.mask is not None]
        rows += scoring.curve(masks, len(CLASSES), options.images, Path(folder))
    OUT.mkdir(exist_ok=True)
    figure(rows).savefig(OUT / "scaling.png", dpi=150)
    publish("scaling", rows, options.save)


def step(recipe: Recipe, repeats: int) -> float:
    """Milliseconds of a training step."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run, _ = prepare(recipe, device)
    timed(run, device, repeats=3 if device.type == "cuda" else 1)  # until it is recorded
    return round(1000 * timed(run, device, repeats), 1)


def generated(folder: Path, count: int, size: int) -> list[Sample]:
    """Images of shapes and their masks, written to `folder`."""
    samples = []
    for number in range(count):
        image, mask, _ = draw(size, (0, 0, number))
        paths = folder / f"{number}.jpg", folder / f"{number}.png"
        Image.fromarray(image).save(paths[0])
        write_label(paths[1], mask)
        samples.append(Sample(str(number), *paths, (1,)))
    return samples


def figure(rows: Sequence[Row]) -> Figure:
    """A diagram for each of LINES; a second column of it has its own axis, on the right."""
    result = Figure(figsize=(10, 6), layout="constrained")
    for cell, (name, columns) in zip(result.subplots(2, 2).flat, LINES.items(), strict=True):
        own = [row for row in rows if next(iter(row)) == name]
        right = name == "images"
        axes: list[Axes] = [cell, cell.twinx() if right else cell]
        for axis, column, colour in zip(axes, columns, ("C0", "C1"), strict=False):
            values = [row[column] for row in own]
            axis.plot([row[name] for row in own], values, "o-", color=colour, label=column)
            axis.set_ylim(0, 1.05 * axis.dataLim.y1)
            if right:
                axis.set_ylabel(column, color=colour)
            else:
                axis.set_ylabel(column if len(columns) == 1 else "seconds an image")
        cell.set_xlabel(name)
        if len(columns) > 1 and not right:
            cell.legend(fontsize=8)
    return result


if __name__ == "__main__":
    main()
