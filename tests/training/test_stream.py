"""The stream of samples depends on the seed and the position alone."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unia.config import load
from unia.data.normalise import normalise, to_tensor
from unia.data.samples import Sample, Split
from unia.data.stream import Positions, SampleStream, loader
from unia.recipe import Train

ROOT = Path(__file__).parents[2]
COUNT, BATCH, ITERATIONS = 7, 4, 5


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    samples = []
    for k in range(COUNT):
        path = folder / f"{k}.png"
        Image.fromarray(rng.integers(25 * k, 25 * k + 100, (40 + k, 48, 3), dtype=np.uint8)).save(path)
        samples.append(Sample(str(k), path, None, (1 + k % 3,) if k else ()))
    return Split("tiny", "train", ("a", "b", "c"), {}, tuple(samples))


def config(**changes: object) -> Train:
    train = load(ROOT / "params.yaml").recipe("voc").train
    return train.model_copy(update={"crop": 32, "batch": BATCH, "workers": 0, **changes})


def batches(split: Split, train: Train, start: int = 0, rank: int = 0, processes: int = 1) -> list[Tensor]:
    """Images and labels of every batch, one row an image."""
    positions = Positions(BATCH, start, ITERATIONS, rank, processes)
    assert len(positions) == len(list(positions)) == ITERATIONS - start
    return [
        torch.cat([images.flatten(1), labels], 1) for images, labels in loader(split, train, positions, False)
    ]


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected)
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


@pytest.fixture(scope="module")
def expected(split: Split) -> list[Tensor]:
    return batches(split, config())


def test_shapes(split: Split) -> None:
    image, label = SampleStream(split, config())[11]
    assert image.shape == (3, 32, 32)
    assert image.dtype == label.dtype == torch.float32
    assert label.shape == (3,)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than the machine has cores
@pytest.mark.parametrize("workers", [1, 4])
def test_workers_do_not_matter(workers: int, split: Split, expected: list[Tensor]) -> None:
    assert_equal(batches(split, config(workers=workers)), expected)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_same_batches(processes: int, split: Split, expected: list[Tensor]) -> None:
    shares = [batches(split, config(), rank=rank, processes=processes) for rank in range(processes)]
    together = [
        torch.stack(parts, 1).flatten(0, 1) for parts in zip(*shares, strict=True)
    ]  # of processes 0, 1, ...: images 0, 1, ... of the batch, then the next
    assert_equal(together, expected)


def test_a_resumed_run_goes_on(split: Split, expected: list[Tensor]) -> None:
    assert_equal(batches(split, config(), start=3), expected[3:])


def test_the_global_generator_is_neither_read_nor_moved(split: Split, expected: list[Tensor]) -> None:
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert_equal([batches(split, config())[0]], expected[:1])
    stream = SampleStream(split, config())
    torch.set_rng_state(before)
    stream[5]
    assert torch.equal(torch.get_rng_state(), before)


def test_the_seed_matters(split: Split, expected: list[Tensor]) -> None:
    other = batches(split, config(seed=8))
    assert not any(torch.equal(o, e) for o, e in zip(other, expected, strict=True))


def test_every_epoch_has_every_sample_once_in_a_new_order(split: Split) -> None:
    stream = SampleStream(split, config())
    epochs = [[stream.index(e * COUNT + i) for i in range(COUNT)] for e in range(6)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 6
    again = [stream.index(position) for position in reversed(range(6 * COUNT))]
    assert again[::-1] == [index for epoch in epochs for index in epoch]


def test_labels_belong_to_their_images(split: Split) -> None:
    """Augmentation off: the image itself, resized, with its own labels."""
    plain = config(crop_scale=(1.0, 1.0), flip=0.0, jitter_probability=0.0)
    stream = SampleStream(split, plain)
    names: Counter[str] = Counter()
    for position in range(COUNT):  # noise of 100 levels around a brightness of its own
        image, label = stream[position]
        sample = split.samples[stream.index(position)]
        assert [k + 1 for k in range(3) if label[k]] == list(sample.labels or ())
        original = normalise(to_tensor(np.asarray(Image.open(sample.image))))
        assert float((image.mean() - original.mean()).abs()) < 0.1
        names[sample.name] += 1
    assert set(names.values()) == {1}


def test_every_position_is_augmented_anew(split: Split) -> None:
    """Of one sample, no two crops are alike."""
    stream = SampleStream(Split("one", "train", ("a", "b", "c"), {}, split.samples[:1]), config())
    crops = torch.stack([stream[position][0] for position in range(20)])
    assert len({crop.numpy().tobytes() for crop in crops}) == 20


def test_flip_at_its_probability(split: Split) -> None:
    for flip, fraction in ((0.0, 0.0), (1.0, 1.0), (0.5, 0.5)):
        shaped = config(crop_scale=(1.0, 1.0), jitter_probability=0.0, flip=flip)
        one = Split("one", "train", ("a", "b", "c"), {}, split.samples[:1])
        straight = SampleStream(one, shaped.model_copy(update={"flip": 0.0}))
        stream = SampleStream(one, shaped)
        # the same seed crops alike, so only the flip can differ
        flipped = [bool((stream[p][0] - straight[p][0].flip(-1)).abs().mean() < 1e-6) for p in range(200)]
        assert abs(sum(flipped) / 200 - fraction) < (0.18 if fraction == 0.5 else 1e-9)
