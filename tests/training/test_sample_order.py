"""The first 1,000 samples, as one digest: the same with any number of workers, and after a resume."""

import hashlib
from pathlib import Path

import pytest

from unia.config import load
from unia.data import stream
from unia.data.samples import Split, load_split, read_image
from unia.data.stream import Positions, SampleStream, loader
from unia.recipe import ShapesData, Train
from unia.steps.download import download
from unia.steps.prepare import prepare

ROOT = Path(__file__).parents[2]
SAMPLES, BATCH = 1000, 8
ITERATIONS = SAMPLES // BATCH
IMAGES = 300  # an epoch; the third ends within a batch


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    folder = tmp_path_factory.mktemp("shapes")
    data = ShapesData(kind="shapes", size=48, train=IMAGES, val=1, seed=0)
    download("shapes", data, folder / "raw.json")
    prepare("shapes", data, folder / "raw.json", folder / "data")
    return load_split(folder / "data", "train")


def config(workers: int, **changes: object) -> Train:
    train = load(ROOT / "params.yaml").recipe("voc").train
    return train.model_copy(update={"crop": 32, "batch": BATCH, "workers": workers, **changes})


def digest(split: Split, train: Train, start: int = 0, until: int = ITERATIONS) -> list[str]:
    """Of every batch from `start` on: the hash of its samples' indices, augmented pixels and labels."""
    order = SampleStream(split, train)
    found = []
    batches = loader(split, train, Positions(BATCH, start, until), False)
    for iteration, (images, labels) in enumerate(batches, start):
        content = hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes())
        positions = range(iteration * BATCH, (iteration + 1) * BATCH)
        content.update(repr([order.index(position) for position in positions]).encode())
        found.append(content.hexdigest())
    return found


@pytest.fixture(scope="module")
def expected(split: Split) -> list[str]:
    found = digest(split, config(workers=0))
    assert len(set(found)) == ITERATIONS
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than the machine has cores
@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_workers_does_not_matter(split: Split, expected: list[str], workers: int) -> None:
    assert digest(split, config(workers)) == expected
    print("digest of the first 1,000 samples:", hashlib.sha256("".join(expected).encode()).hexdigest())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 4])
def test_resumed_in_the_middle_of_an_epoch(split: Split, expected: list[str], workers: int) -> None:
    middle = 56  # sample 448 of epochs of 300
    assert digest(split, config(workers), middle) == expected[middle:]


@pytest.mark.slow
def test_the_digest_notices_the_seed(split: Split, expected: list[str]) -> None:
    other = digest(split, config(0, seed=8), until=10)
    assert not set(other) & set(expected)


def test_a_sample_is_decoded_once(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []

    def counting(path: Path) -> object:
        decoded.append(path)
        return read_image(path)

    monkeypatch.setattr(stream, "read_image", counting)
    train = config(0)
    assert sum(len(images) for images, _ in loader(split, train, Positions(BATCH, 0, 5), False)) == len(
        decoded
    )
    order = SampleStream(split, train)
    assert decoded == [split.samples[order.index(position)].image for position in range(5 * BATCH)]
