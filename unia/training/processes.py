"""The processes that train together, each on its parts of every batch: one on a machine without torchrun.

What they exchange: gradients, losses, and once a step whether one of them was asked to stop.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from unia.errors import UserError
from unia.recipe import Train


@dataclass(frozen=True)
class Processes:
    """Process `rank` of `count`, and the device it computes on."""

    device: torch.device
    rank: int = 0
    count: int = 1
    _control: dist.ProcessGroup | None = None  # on the CPU: control messages must not wait for the GPU

    @property
    def is_main(self) -> bool:
        """This process is the one that speaks, logs and writes."""
        return self.rank == 0

    def all_reduce_sum(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the processes."""
        if self.count > 1:
            pending = [dist.all_reduce(tensor, async_op=True) for tensor in tensors]
            for work in pending:
                work.wait()

    def all_reduce_max(self, values: list[int]) -> list[int]:
        """The largest of the processes' values, place by place."""
        if self.count == 1:
            return values
        word = torch.tensor(values)
        dist.all_reduce(word, dist.ReduceOp.MAX, group=self._control)
        return word.tolist()

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by the first process's."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)


def check_shares(config: Train, processes: int) -> None:
    """UserError where a batch's parts cannot be shared out evenly to so many processes."""
    if config.accumulate % processes:
        raise UserError(
            f"train.accumulate: {config.accumulate} parts of a batch cannot be shared by {processes} "
            f"processes; make it a multiple of {processes} (the result depends on the parts alone, "
            "however many processes compute them)"
        )


@contextmanager
def process_group() -> Iterator[Processes]:
    """This process among those that torchrun started (it sets RANK and its like), or alone.

    Raises UserError where there are fewer GPUs than processes on this machine.
    """
    gpus = torch.cuda.device_count()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if gpus and local >= gpus:
        raise UserError(f"train: {local + 1} or more processes, but {gpus} GPUs; start one for each GPU")
    device = torch.device("cuda", local) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(device)
    if "RANK" not in os.environ:
        yield Processes(device)
        return
    dist.init_process_group("nccl" if gpus else "gloo")
    try:
        control = dist.new_group(backend="gloo")
        assert isinstance(control, dist.ProcessGroup)
        yield Processes(device, dist.get_rank(), dist.get_world_size(), control)
    finally:
        dist.destroy_process_group()
