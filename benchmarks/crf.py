"""The CRF against the plain call of pydensecrf on all classes: `python -m benchmarks.crf data/coco`.

Logits are made of a prepared dataset's masks, where no trained network is at hand: at the network's
scales each token's true classes get `--margin`, smoothed over its neighbours, over noise of standard
deviation 1. The margin makes them as sure as the demo's trained network, whose likeliest class has 0.992 on
average (`top_probability`). With fewer classes than the dataset has, ids are taken modulo. After `make demo`
its own logits serve, and show what the choice of classes does to mIoU:

    python -m benchmarks.crf data/shapes --dataset shapes --predictions results/shapes/val/predictions

First one process with one thread computes both, image by image. Then the step itself, `unia crf`, runs over
the same images in as many processes as there are cores, their start included.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.report import Row, arguments, publish
from benchmarks.samples import write_val
from unia.config import load
from unia.data.samples import Sample, load_split, read_image, read_mask
from unia.labels import IGNORE
from unia.model.segment import logits_at
from unia.parallel import cores
from unia.progress import track
from unia.recipe import Crf
from unia.refine.dense_crf import mean_field
from unia.scoring.scores import confusion, scores
from unia.steps.crf import crf, likely

Label = NDArray[np.uint8]
Maps = list[Tensor]
Logits = Callable[[Sample, Label], Maps]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--dataset", default="coco", help="whose parameters")
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--classes", type=int, nargs="+", default=[21, 81], help="with the background")
    parser.add_argument("--margin", type=float, default=16.0)
    parser.add_argument("--predictions", type=Path, help="of `unia infer`: the logits to take")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = load(Path("params.yaml")).recipe(options.dataset)
    about = load_split(options.data, options.split)
    samples = about.samples[: options.images]
    if options.predictions:
        logits = partial(stored, options.predictions)
        rows = [compare(recipe.crf, samples, len(about.classes) + 1, logits)]
    else:
        sides = [int(recipe.infer.size * scale) // 16 for scale in recipe.infer.scales]
        rows = [
            compare(recipe.crf, samples, classes, synthetic(classes, sides, options.margin))
            for classes in options.classes
        ]
    publish("crf", rows, options.save)


def compare(config: Crf, samples: Sequence[Sample], classes: int, logits: Logits) -> Row:
    """Both ways on every sample, and the step over all cores; `classes` counts the background."""
    before = now = 0.0
    equal, kept, top = [], [], []
    matrices = np.zeros((2, classes, classes), np.int64)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "logits").mkdir()
        for sample in track(samples, f"CRF of {classes} classes"):
            assert sample.mask is not None
            image = read_image(sample.image)
            truth = folded(read_mask(sample.mask), classes)
            maps = [one.half().float() for one in logits(sample, truth)]  # as they are stored
            np.savez(folder / "logits" / f"{sample.name}.npz", *(one.half().numpy() for one in maps))
            start = time.perf_counter()
            probability = logits_at(maps, truth.shape).softmax(0)
            reference = plain(config, image, probability.numpy())
            middle = time.perf_counter()
            ids = likely(maps, truth.shape, config.probability_floor)
            chosen = logits_at([one[ids] for one in maps], truth.shape).softmax(0)
            label = ids.numpy().astype(np.uint8)[mean_field(config, image, chosen.numpy())]
            before, now = before + middle - start, now + time.perf_counter() - middle
            equal.append(float((label == reference).mean()))
            kept.append(len(ids))
            top.append(float(probability.amax(0).mean()))
            matrices += [confusion(truth, found, classes - 1) for found in (reference, label)]
        step = over_cores(config, samples, classes, folder)
    full, restricted = (100 * scores(matrix).miou for matrix in matrices)
    count = len(samples)
    return {
        "classes": classes,
        "images": count,
        "kept_mean": round(float(np.mean(kept)), 2),
        "top_probability": round(float(np.mean(top)), 4),
        "plain_seconds": round(before / count, 3),
        "crf_seconds": round(now / count, 3),
        "ratio": round(before / now, 2),
        "cores": cores(),
        "step_seconds": round(step / count, 3),
        "ratio_over_cores": round(before / step, 2),
        "equal_pixels": round(float(np.mean(equal)), 6),
        "mIoU_plain": round(full, 4),
        "mIoU_difference": round(restricted - full, 4),
    }


def plain(config: Crf, image: Label, probability: NDArray[np.floating]) -> Label:
    """pydensecrf as published code calls it: both terms on its lattice, all iterations, all K classes.

    `probability`: K x H x W; the class of each pixel, H x W.
    """
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_softmax

    classes, height, width = probability.shape
    field = DenseCRF2D(width, height, classes)
    field.setUnaryEnergy(unary_from_softmax(probability.astype(np.float32)))
    field.addPairwiseGaussian(sxy=config.gaussian_sxy, compat=config.gaussian_compat)
    field.addPairwiseBilateral(
        sxy=config.bilateral_sxy,
        srgb=config.bilateral_srgb,
        rgbim=np.array(image, order="C"),  # it takes no read-only array
        compat=config.bilateral_compat,
    )
    found = np.asarray(field.inference(config.iterations)).reshape(classes, height, width)
    return found.argmax(axis=0).astype(np.uint8)


def over_cores(config: Crf, samples: Sequence[Sample], classes: int, folder: Path) -> float:
    """Seconds of the step itself on `folder`/logits."""
    write_val(folder / "data", [f"class {k}" for k in range(1, classes)], samples)
    start = time.perf_counter()
    crf(config, folder / "data", "val", folder, folder / "crf")
    return time.perf_counter() - start


def folded(mask: Label, classes: int) -> Label:
    """The mask with its foreground ids taken modulo, so that there are `classes` with the background."""
    kept = (mask == 0) | (mask == IGNORE)
    ids = (mask.astype(np.int64) - 1) % (classes - 1) + 1
    return np.where(kept, mask, ids).astype(np.uint8)


def stored(predictions: Path, sample: Sample, truth: Label) -> Maps:
    """The logits that `unia infer` wrote."""
    with np.load(predictions / "logits" / f"{sample.name}.npz") as maps:
        return [torch.from_numpy(maps[name]).float() for name in maps.files]


def synthetic(classes: int, sides: Sequence[int], margin: float) -> Logits:
    """Gives logits (classes x side x side at each side) of a network that mostly knows the truth."""
    generator = torch.Generator().manual_seed(0)

    def logits(sample: Sample, truth: Label) -> Maps:
        ids = torch.from_numpy(np.where(truth == IGNORE, 0, truth).astype(np.int64))
        planes = F.one_hot(ids, classes).permute(2, 0, 1)[None].float()
        maps = []
        for side in sides:
            share = F.avg_pool2d(F.adaptive_avg_pool2d(planes, side), 3, 1, 1, count_include_pad=False)[0]
            maps.append(margin * share + torch.randn(classes, side, side, generator=generator))
        return maps

    return logits


if __name__ == "__main__":
    main()
