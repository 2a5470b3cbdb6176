"""The CRF on its likely classes against the plain call on all: `python -m benchmarks.crf data/coco`.

Logits are made of a prepared dataset's masks, since no trained network need be at hand: at the network's
scales each token's true classes get `--margin`, smoothed over its neighbours, over noise of standard
deviation 1. The margin makes them as sure as the demo's trained network, whose likeliest class has 0.992 on
average (`top_probability`). With fewer classes than the dataset has, ids are taken modulo. One core, one run.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unia.config import load
from unia.data.samples import IGNORE, load_split, read_image, read_mask
from unia.refine.logits import logits_at
from unia.steps.crf import likely, refine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--dataset", default="coco", help="whose parameters")
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--classes", type=int, nargs="+", default=[21, 81], help="with the background")
    parser.add_argument("--margin", type=float, default=16.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = load(Path("params.yaml")).recipe(arguments.dataset)
    sides = [int(recipe.infer.crop * scale) // 16 for scale in recipe.infer.scales]
    samples = load_split(arguments.data, arguments.split).samples[: arguments.images]
    for classes in arguments.classes:
        generator = torch.Generator().manual_seed(0)
        plain = pruned = 0.0
        equal, kept, top = [], [], []
        for sample in samples:
            assert sample.mask is not None
            image, mask = read_image(sample.image), read_mask(sample.mask)
            maps = synthetic(mask, classes, sides, arguments.margin, generator)
            start = time.perf_counter()
            probability = logits_at(maps, mask.shape).softmax(0)
            reference = refine(recipe.crf, image, np.arange(classes, dtype=np.uint8), probability.numpy())
            middle = time.perf_counter()
            ids = likely(maps, mask.shape, recipe.crf.probability_floor)
            probability = logits_at([one[ids] for one in maps], mask.shape).softmax(0)
            label = refine(recipe.crf, image, ids.numpy().astype(np.uint8), probability.numpy())
            plain, pruned = plain + middle - start, pruned + time.perf_counter() - middle
            equal.append(float((label == reference).mean()))
            kept.append(len(ids))
            top.append(float(probability.amax(0).mean()))
        found = {
            "classes": classes,
            "images": len(samples),
            "kept_mean": round(float(np.mean(kept)), 2),
            "top_probability": round(float(np.mean(top)), 4),
            "plain_seconds": round(plain / len(samples), 3),
            "likely_seconds": round(pruned / len(samples), 3),
            "ratio": round(plain / pruned, 2),
            "equal_pixels": round(float(np.mean(equal)), 6),
        }
        print(json.dumps(found))


def synthetic(
    mask: np.ndarray, classes: int, sides: list[int], margin: float, generator: torch.Generator
) -> list[Tensor]:
    """Logits (classes x side x side at each side) of a network that mostly knows the mask."""
    ids = torch.from_numpy(mask.astype(np.int64))
    ids = torch.where((ids == 0) | (ids == IGNORE), 0, (ids - 1) % (classes - 1) + 1)
    truth = F.one_hot(ids, classes).permute(2, 0, 1)[None].float()
    maps = []
    for side in sides:
        share = F.avg_pool2d(F.adaptive_avg_pool2d(truth, side), 3, 1, 1, count_include_pad=False)[0]
        noise = torch.randn(classes, side, side, generator=generator)
        maps.append(margin * share + noise)
    return maps


if __name__ == "__main__":
    main()
