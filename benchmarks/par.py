"""Time of PAR at the size of training: 4 images of 224 x 224 (crops of 448, halved), 12 masks.

`python -m benchmarks.par` prints milliseconds of `unia.refine.par` and of the usual formulation, which
materialises the 48 neighbours of every mask, and their ratio.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.report import arguments, publish
from unia.refine.par import par, par_weights

DILATIONS = (1, 2, 4, 8, 12, 24)
ITERATIONS = 10


def unfold(maps: Tensor, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """All neighbours of B x K x H x W maps, materialised: B x K x 8*len(dilations) x H x W."""
    batch, channels, height, width = maps.shape
    found = []
    for dilation in dilations:
        padded = F.pad(maps, (dilation,) * 4, mode="replicate")
        columns = F.unfold(padded, 3, dilation=dilation).view(batch, channels, 9, height, width)
        found += [columns[:, :, :4], columns[:, :, 5:]]
    return torch.cat(found, dim=2)


@torch.no_grad()
def naive(images: Tensor, masks: Tensor) -> Tensor:
    weights = par_weights(images, DILATIONS)[:, None]
    for _ in range(ITERATIONS):
        masks = (unfold(masks) * weights).sum(2)
    return masks


def milliseconds(action: Callable[[], Tensor], repeats: int) -> float:
    """Median time of an action, after one unmeasured run."""
    times = []
    for _ in range(repeats + 1):
        synchronise()
        start = time.perf_counter()
        action()
        synchronise()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 224, 224, generator=generator).to(options.device)
    masks = torch.rand(4, 12, 224, 224, generator=generator).to(options.device)
    difference = (par(images, masks, DILATIONS, ITERATIONS) - naive(images, masks)).abs().max().item()
    weights = milliseconds(lambda: par_weights(images, DILATIONS), options.repeats)
    ours = milliseconds(lambda: par(images, masks, DILATIONS, ITERATIONS), options.repeats)
    theirs = milliseconds(lambda: naive(images, masks), options.repeats)
    found = {
        "device": options.device,
        "unia, ms": round(ours, 1),
        "of which weights": round(weights, 1),
        "unfolded, ms": round(theirs, 1),
        "ratio": round(theirs / ours, 1),
        "largest difference": difference,
    }
    publish("par", [found], options.save)


if __name__ == "__main__":
    main()
