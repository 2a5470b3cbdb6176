"""Training samples as one endless sequence: what is at position n depends on the seed and n alone.

So the order, the crops and the colours are the same whatever the number of workers or processes, and a
resumed run goes on where it stopped.
"""

import os
import signal
from collections.abc import Iterator
from types import FrameType

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info
from torchvision.transforms import v2
from torchvision.tv_tensors import Mask

from unia.data.normalise import normalise, to_tensor
from unia.data.samples import Sample, Split, read_image, read_mask
from unia.errors import UserError
from unia.recipe import Train
from unia.system import told


class SampleStream(Dataset[tuple[Tensor, ...]]):
    """Position -> (normalised crop 3 x crop x crop, image-level labels C).

    With `supervision: masks` also the crop's mask: crop x crop, class ids, 0 and 255, int64.
    Raises UserError, naming the sample, for one that cannot be read.
    """

    def __init__(self, split: Split, config: Train):
        self.split = split
        self.seed = config.seed
        self.masks = config.supervision == "masks"
        self.augment = augmentation(config)
        # What each worker is reading, (process id, position), for when it dies and cannot say it itself.
        self._reading = torch.full((max(1, config.workers), 2), -1).share_memory_()
        self._closed = torch.zeros(1, dtype=torch.bool).share_memory_()

    def __getitem__(self, position: int) -> tuple[Tensor, ...]:
        worker = get_worker_info()
        self._reading[worker.id if worker else 0] = torch.tensor([os.getpid(), position])
        sample = self.sample(position)
        try:
            return self._crop(sample, position)
        except Exception as error:
            known = error if isinstance(error, UserError) else told(error)
            raise UserError(f"sample {sample.name}: {known or f'{type(error).__name__}: {error}'}") from error

    def sample(self, position: int) -> Sample:
        """The sample at `position`."""
        return self.split.samples[self.index(position)]

    def read_by(self, process: int) -> Sample | None:
        """The sample that the worker with this process id read last."""
        places = [int(place) for reader, place in self._reading if reader == process]
        return self.sample(places[0]) if places else None

    def close(self) -> None:
        """End reading: from now on workers exit on SIGTERM, which until then they leave to their parent."""
        self._closed.fill_(True)

    def told_to_end(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM, SIGINT, SIGHUP in a worker: they reach the whole group, and are the parent's to handle."""
        if self._closed:
            os._exit(0)

    def _crop(self, sample: Sample, position: int) -> tuple[Tensor, ...]:
        image = Image.fromarray(read_image(sample.image))
        masks = [Mask(read_mask(sample.mask).copy())] if self.masks and sample.mask else []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hash_seed(self.seed, position))
            image, *masks = self.augment(image, *masks) if masks else [self.augment(image)]
        label = torch.zeros(len(self.split.classes))
        label[[c - 1 for c in sample.labels or ()]] = 1
        return (
            normalise(to_tensor(np.asarray(image))),
            label,
            *(mask.as_subclass(Tensor).long() for mask in masks),
        )

    def index(self, position: int) -> int:
        """The sample at `position`: a new random order every time all have been seen."""
        epoch, place = divmod(position, len(self.split.samples))
        if epoch != getattr(self, "_epoch", None):
            generator = np.random.Generator(np.random.PCG64(hash_seed(self.seed, epoch, "epoch")))
            self._order = generator.permutation(len(self.split.samples))
            self._epoch = epoch
        return int(self._order[place])


class Positions(Sampler[list[int]]):
    """Batches of positions from iteration `start` on; of `processes`, this one's share of each batch."""

    def __init__(self, batch: int, start: int, iterations: int, rank: int = 0, processes: int = 1):
        self.batch, self.start, self.iterations = batch, start, iterations
        self.rank, self.processes = rank, processes

    def __iter__(self) -> Iterator[list[int]]:
        for iteration in range(self.start, self.iterations):
            first = iteration * self.batch
            yield list(range(first + self.rank, first + self.batch, self.processes))

    def __len__(self) -> int:
        return self.iterations - self.start


def loader(split: Split, config: Train, positions: Positions, pin: bool) -> DataLoader[tuple[Tensor, ...]]:
    """Batches in order, decoded and augmented by `config.workers` processes (0: in this one)."""
    workers = config.workers
    return DataLoader(
        SampleStream(split, config),
        batch_sampler=positions,
        num_workers=workers,
        pin_memory=pin,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_in_worker if workers else None,
    )


def augmentation(config: Train) -> v2.Transform:
    """Random resized crop (bicubic), horizontal flip, colour jitter: method section 5."""
    brightness, contrast, saturation, hue = config.jitter
    jitter = v2.ColorJitter(brightness, contrast, saturation, hue)
    return v2.Compose(
        [
            v2.RandomResizedCrop(
                config.crop,
                scale=config.crop_scale,
                interpolation=v2.InterpolationMode.BICUBIC,
                antialias=True,
            ),
            v2.RandomHorizontalFlip(config.flip),
            v2.RandomApply([jitter], p=config.jitter_probability),
        ]
    )


def hash_seed(*parts: int | str) -> int:
    """A seed of 63 bits from numbers and words: equal parts, equal seed."""
    words = [part if isinstance(part, int) else int.from_bytes(part.encode()[:7]) for part in parts]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)


def _in_worker(worker: int) -> None:
    torch.set_num_threads(1)
    info = get_worker_info()
    assert info is not None
    assert isinstance(info.dataset, SampleStream)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, info.dataset.told_to_end)
