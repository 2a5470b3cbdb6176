"""The training step recorded once as a CUDA graph and replayed: a GPU then never waits for Python."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from unia.losses.schedule import ActiveLosses

WARM_UP = 2  # steps of a kind that run as they are, so that every cache and buffer exists before recording


class Step(Protocol):
    """(images, labels, most classes in one image, active losses[, masks]) -> losses."""

    def __call__(
        self, images: Tensor, labels: Tensor, max_classes: int, active: ActiveLosses, /, *masks: Tensor
    ) -> dict[str, Tensor]: ...


class CUDAGraphStep:
    """Calls a step, from its third call of a kind on as a CUDA graph.

    One graph is recorded for each pair of active losses and largest number of classes in an image, since
    these two give the tensors their shapes. The batch must always have the same size, and masks or none.
    The losses returned are overwritten by the next call.
    """

    def __init__(self, step: Step, device: torch.device, generators: Sequence[torch.Generator] = ()):
        """`generators`: those, beside the device's own, that `step` draws from; seed them between calls."""
        self._step = step
        self._generators = generators
        self._device = device
        self._seen: dict[tuple[ActiveLosses, int], int] = {}
        self._graphs: dict[tuple[ActiveLosses, int], tuple[torch.cuda.CUDAGraph, dict[str, Tensor]]] = {}
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()
        self._batch: tuple[Tensor, Tensor, list[Tensor]] | None = None  # where recorded steps read it

    def __call__(
        self, images: Tensor, labels: Tensor, max_classes: int, active: ActiveLosses, /, *masks: Tensor
    ) -> dict[str, Tensor]:
        kind = (active, max_classes)
        if self._batch is None:
            own = images.to(self._device, memory_format=torch.channels_last)
            self._batch = own, labels.to(self._device), [mask.to(self._device) for mask in masks]
        for place, values in zip((*self._batch[:2], *self._batch[2]), (images, labels, *masks), strict=True):
            place.copy_(values, non_blocking=True)
        self._seen[kind] = self._seen.get(kind, 0) + 1
        if self._seen[kind] <= WARM_UP:
            return self._run_aside(kind)
        if kind not in self._graphs:
            graph = torch.cuda.CUDAGraph()
            for generator in self._generators:
                graph.register_generator_state(generator)
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                losses = self._run(kind)
            self._graphs[kind] = graph, losses
        graph, losses = self._graphs[kind]
        graph.replay()
        return losses

    def _run(self, kind: tuple[ActiveLosses, int]) -> dict[str, Tensor]:
        assert self._batch is not None
        images, labels, masks = self._batch
        return self._step(images, labels, kind[1], kind[0], *masks)

    def _run_aside(self, kind: tuple[ActiveLosses, int]) -> dict[str, Tensor]:
        """As it is, but on the stream that records, as CUDA asks of what will be recorded."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            losses = self._run(kind)
        torch.cuda.current_stream().wait_stream(self._stream)
        return losses
