"""The training step against the plain spelling of it that benchmarks/ keeps."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from tiny import prepared, recipe

from benchmarks.loss_curves import keep, plain, train
from unia.data.samples import load_split


@pytest.mark.slow
def test_a_training_in_the_plain_spelling_has_the_same_losses(tmp_path: Path) -> None:
    split = load_split(prepared(tmp_path), "train")
    config = recipe("small.train.log_every=1")
    ours = train(config, split, nullcontext, keep)
    theirs = train(config, split, plain, keep)
    assert len(ours) == config.train.iterations
    assert {"ptc", "affinity", "distribution", "segmentation", "energy"} <= set(ours[-1])
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-7)
