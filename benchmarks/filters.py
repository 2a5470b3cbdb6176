"""Time and memory of the two Gaussian filters of the dense energy: `python -m benchmarks.filters`.

A bilateral filter (sigma 50 pixels, 15 grey levels) of 21 channels over generated images, batch 4.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psutil
import torch

from benchmarks.report import arguments, publish
from unia.losses.energy import bilateral_features
from unia.losses.exact import exact_filter
from unia.losses.lattice import lattice_filter


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(options.batch, 3, 14, 14, generator=generator) * 255
    images = torch.nn.functional.interpolate(coarse, (options.size,) * 2, mode="bicubic").to(device)
    features = bilateral_features(images, 15, 50)
    values = torch.rand(options.batch, options.size**2, 21, generator=generator).to(device)
    rows: list[dict[str, Any]] = []
    for name, run in (("lattice", lattice_filter), ("exact", exact_filter)):
        seconds, memory = measure(partial(run, features, values), device)
        rows.append(
            {
                "filter": name,
                "ms": round(1000 * seconds, 1),
                "MiB beyond its inputs": round(memory / 2**20),
                "device": device.type,
                "lattice is faster by": round(1000 * seconds / rows[0]["ms"], 1) if rows else None,
            }
        )
    publish("filters", rows, options.save)


def measure(run: Callable[[], torch.Tensor], device: torch.device) -> tuple[float, int]:
    """(seconds, peak bytes beyond what was held before) of one call, after one to warm up."""
    if device.type == "cpu":
        with Peak() as peak:
            start = time.perf_counter()
            run()
            return time.perf_counter() - start, peak.bytes
    run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    start = time.perf_counter()
    for _ in range(5):
        run()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / 5, torch.cuda.max_memory_allocated() - held


class Peak:
    """The most memory that this process held meanwhile, beyond what it held before."""

    def __enter__(self) -> "Peak":
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self.bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.bytes = max(self.bytes, self._process.memory_info().rss - self._before)


if __name__ == "__main__":
    main()
