"""Training samples a second and core, by part: `python -m benchmarks.loader IMAGES` (a folder of JPEGs).

Parts of a sample: reading and decoding, augmentation (crop, flip, colours), and the way into a normalised
tensor; its label costs nothing to speak of. Then the loader itself with `--workers` processes, and PIL's
decoding beside torchvision's. The last table asks whether JPEGs should be decoded at half size, which libjpeg
does at less cost: for how many crops that is possible without enlarging what was left out, how long decoding
then takes, and how far the crops are from what they were (grey levels).
"""

from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as transforms

from benchmarks.report import Row, arguments, publish
from unia.config import load
from unia.data.normalise import normalise, to_tensor
from unia.data.samples import Sample, Split, read_image
from unia.data.stream import Positions, augmentation, loader
from unia.parallel import cores
from unia.recipe import Train


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--dataset", default="voc", help="whose parameters")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--set", dest="settings", action="append", default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = load(Path("params.yaml"), options.settings).recipe(options.dataset).train
    paths = sorted(path for path in options.images.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        parser.error(f"{options.images} holds no JPEG")
    taken = [paths[i % len(paths)] for i in range(options.samples)]
    rows = [*parts(config, taken), through_loader(config, taken, options.workers)]
    rows += [*decoders(taken), reduced(config, taken)]
    publish("loader", rows, options.save)


def parts(config: Train, paths: list[Path]) -> list[Row]:
    """Milliseconds of each part of a sample, in one process with one thread."""
    augment = augmentation(config)
    names = ("decode", "augment", "tensor")
    spent = np.zeros(len(names))
    for number, path in enumerate(paths):
        torch.manual_seed(number)
        times = [perf_counter()]
        image = Image.fromarray(read_image(path))
        times.append(perf_counter())
        crop = augment(image)
        times.append(perf_counter())
        normalise(to_tensor(np.asarray(crop)))
        times.append(perf_counter())
        spent += np.diff(times)
    each = dict(zip(names, spent / len(paths), strict=True))
    each["all"] = sum(each.values())
    return [
        {"part": part, "ms": round(1000 * seconds, 2), "a second": round(1 / seconds, 1)}
        for part, seconds in each.items()
    ]


def through_loader(config: Train, paths: list[Path], workers: int) -> Row:
    """Samples a second of the loader of training, once its processes run."""
    samples = tuple(Sample(str(number), path, None, (1,)) for number, path in enumerate(paths))
    split = Split("benchmark", "train", ("any",), {}, samples)
    config = config.model_copy(update={"workers": workers})
    batches = iter(
        loader(split, config, Positions(config.batch, 0, 1 + len(paths) // config.batch), pin=False)
    )
    next(batches)
    start, seen = perf_counter(), 0
    for images, _ in batches:
        seen += len(images)
    rate = seen / (perf_counter() - start)
    return {
        "workers": workers,
        "batch": config.batch,
        "crop": config.crop,
        "samples a second": round(rate, 1),
        "a second and core": round(rate / max(1, min(workers, cores())), 1),
    }


def decoders(paths: list[Path]) -> list[Row]:
    """Milliseconds of reading a JPEG, and the share of values that are as PIL's."""
    ways = {
        "PIL": lambda path: np.asarray(Image.open(path).convert("RGB")),
        "torchvision": lambda path: (
            decode_jpeg(read_file(str(path)), ImageReadMode.RGB).permute(1, 2, 0).numpy()
        ),
    }
    rows: list[Row] = []
    for name, read in ways.items():
        start = perf_counter()
        for path in paths:
            read(path)
        seconds = perf_counter() - start
        equal = np.mean([(read(path) == ways["PIL"](path)).mean() for path in paths[:8]])
        rows.append(
            {"decoder": name, "ms": round(1000 * seconds / len(paths), 2), "equal": round(float(equal), 4)}
        )
    return rows


def reduced(config: Train, paths: list[Path]) -> Row:
    """Decoding at half size wherever the crop is at least twice as large as it will be shown."""
    crop, low, high = config.crop, *config.crop_scale
    whole = half = 0.0
    differences = []
    for number, path in enumerate(paths):
        with Image.open(path) as image:
            torch.manual_seed(number)
            box = v2.RandomResizedCrop(crop, scale=(low, high)).make_params([transforms.to_image(image)])
        top, left, height, width = (box[name] for name in ("top", "left", "height", "width"))
        if min(height, width) < 2 * crop:
            continue
        start = perf_counter()
        full = Image.open(path).convert("RGB")
        middle = perf_counter()
        opened = Image.open(path)
        opened.draft("RGB", (-(-opened.width // 2), -(-opened.height // 2)))
        small = opened.convert("RGB")
        whole, half = whole + middle - start, half + perf_counter() - middle
        x, y = small.width / full.width, small.height / full.height
        size, how = (crop, crop), Image.Resampling.BICUBIC
        straight = full.resize(size, how, (left, top, left + width, top + height))
        drafted = small.resize(size, how, (left * x, top * y, (left + width) * x, (top + height) * y))
        differences.append(np.abs(np.asarray(straight, float) - np.asarray(drafted, float)).mean())
    count = len(differences)
    row: dict[str, object] = {"crops that allow half size": f"{count} of {len(paths)}"}
    if count:
        row["whole, ms"] = round(1000 * whole / count, 2)
        row["half, ms"] = round(1000 * half / count, 2)
        row["difference, grey levels"] = round(float(np.mean(differences)), 2)
    return row


if __name__ == "__main__":
    main()
