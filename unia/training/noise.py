"""The random numbers of training: each part of each step has its own, whoever computes it.

They depend on the seed, the iteration and the part alone. So no generator's state has to be kept for a
resumed run, and the number of processes does not matter.
"""

import torch

from unia.data.stream import hash_seed
from unia.recipe import Train
from unia.training.processes import Processes


class Noise:
    """A generator for each of this process's parts of a batch: part rank, rank + count, ..."""

    def __init__(self, config: Train, processes: Processes):
        self._seed = config.seed
        self._parts = range(processes.rank, config.accumulate, processes.count)
        self.generators = [torch.Generator(processes.device) for _ in self._parts]

    def at(self, iteration: int) -> None:
        """Make the generators ready for the step of `iteration` (from 0)."""
        for part, generator in zip(self._parts, self.generators, strict=True):
            generator.manual_seed(hash_seed(self._seed, iteration, part, "noise"))
