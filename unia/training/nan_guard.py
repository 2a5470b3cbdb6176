"""When a loss first broke: noticed on the device at every step, read only now and then."""

from collections.abc import Mapping

import torch
from torch import Tensor

from unia.recipe import Losses
from unia.training.processes import Processes

LIMIT = 1e4
"""A loss beyond it has exploded: all of them start below 10."""

NAMES = (*Losses.model_fields, "loss")
NEVER = torch.iinfo(torch.int64).max


class NaNGuard:
    """Remembers for each loss the first iteration at which it was no number, or beyond LIMIT."""

    def __init__(self, processes: Processes):
        self._processes = processes
        self._since = torch.full((len(NAMES),), NEVER, device=processes.device)
        self._absent = torch.zeros((), device=processes.device)

    def see(self, iteration: int, losses: Mapping[str, Tensor]) -> None:
        """Take note of the losses of `iteration`, without waiting for the device."""
        values = torch.stack([losses.get(name, self._absent).float() for name in NAMES])
        sane = values.abs() <= LIMIT  # false for what is no number
        self._since = torch.where(sane, self._since, self._since.clamp(max=iteration))

    def broken(self) -> tuple[int, list[str]] | None:
        """The first iteration at which a loss of any process broke, and which did; None where none has."""
        since = [-value for value in self._processes.all_reduce_max((-self._since).tolist())]
        first = min(since)
        if first == NEVER:
            return None
        names = [name for name, value in zip(NAMES, since, strict=True) if value == first]
        return first, [name for name in names if name != "loss"] or names
