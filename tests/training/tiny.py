"""A tiny dataset, prepared, and trainings on it that take a second."""

from collections.abc import Callable, Mapping
from pathlib import Path

from smallest import NETWORK

from unia.config import load
from unia.recipe import Recipe
from unia.steps.download import download
from unia.steps.prepare import prepare
from unia.steps.train import train

ROOT = Path(__file__).parents[2]
SETTINGS = (
    *NETWORK,
    "small.train.batch=4",
    "small.train.warmup=2",
    "small.train.iterations=12",
    "small.train.log_every=2",
    "small.train.save_every=3",
    "small.losses.ptc.after=0",
    "small.losses.affinity.after=0",
    "small.losses.segmentation.after=3",
    "small.losses.energy.after=3",
    "small.losses.distribution={after: 0, mutual_after: 6}",
    "datasets.shapes.data={kind: shapes, size: 32, train: 12, val: 2, seed: 0}",
)


def recipe(*settings: str) -> Recipe:
    return load(ROOT / "params.yaml", [*SETTINGS, *settings]).recipe("shapes")


def prepared(folder: Path) -> Path:
    """The prepared folder of the tiny dataset, below `folder`."""
    data = recipe().data
    download("shapes", data, folder / "raw.json")
    prepare("shapes", data, folder / "raw.json", folder / "data")
    return folder / "data"


def run(
    data: Path,
    out: Path,
    *settings: str,
    at: Callable[[int, Mapping[str, float]], None] = lambda iteration, values: None,
) -> dict[str, bytes]:
    """Train; `at` is called with each logged row. The files that it wrote."""
    train("shapes", recipe(*settings), data, out, at)
    return files(out)


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}
