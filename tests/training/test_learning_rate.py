"""The learning rate against the reference's and against every one its published logs print."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from unia.config import load
from unia.training.learning_rate import learning_rate

ROOT = Path(__file__).parents[2]
PRINTED = json.loads((ROOT / "tests" / "golden" / "published_rates.json").read_text())

pytestmark = pytest.mark.golden


def test_the_references_rates(golden: Callable[[str], Mapping[str, np.ndarray]]) -> None:
    g = golden("schedule.npz")
    settings = (
        int(g["warmup_iters"]),
        float(g["warmup_ratio"]),
        int(g["max_iters"]),
        float(g["power"]),
    )
    rates = np.array([learning_rate(float(g["base_lr"]), int(step), *settings) for step in g["steps"]])
    difference = np.abs(rates / g["lr_used_at_step"] - 1).max()
    print(f"schedule: {difference:.1e}")
    assert difference < 1e-9


@pytest.mark.parametrize("dataset", ["voc", "coco"])
def test_every_printed_rate(dataset: str) -> None:
    """The log's iteration n (from 1) prints the rate of step n - 1, to four digits."""
    train = load(ROOT / "params.yaml").recipe(dataset).train
    settings = (train.warmup, train.warmup_ratio, train.iterations, train.power)
    assert len(PRINTED[dataset]) >= train.iterations // 200
    wrong = [
        (iteration, printed)
        for iteration, printed in PRINTED[dataset]
        if float(f"{learning_rate(train.lr, iteration - 1, *settings):.3e}") != printed
    ]
    assert wrong == []
