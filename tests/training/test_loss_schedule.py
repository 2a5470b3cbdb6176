"""Which losses count at which iteration, and from which labels: the published recipes."""

from pathlib import Path

import pytest
from tiny import prepared, run

from unia.config import load
from unia.losses.schedule import ActiveLosses
from unia.recipe import Recipe
from unia.steps.train import too_late

ROOT = Path(__file__).parents[2]

ALWAYS = {"classification", "classification_aux", "distribution"}
SEGMENTATION = {"segmentation", "energy"}


def plan(recipe: Recipe, iteration: int) -> tuple[set[str], set[str], bool]:
    found = ActiveLosses.at(iteration, recipe.losses, recipe.pseudo_label)
    return set(found.names), set(found.mutual), found.late


# (iteration, active, of these with the mutual label, late rule): around every switch of the recipe
VOC = [
    (0, ALWAYS | {"ptc", "affinity"}, set(), False),
    (1, ALWAYS | {"ptc", "affinity"}, set(), False),
    (2000, ALWAYS | {"ptc", "affinity"}, set(), False),
    (2001, ALWAYS | {"ptc", "affinity"} | SEGMENTATION, set(), False),
    (6000, ALWAYS | {"ptc", "affinity"} | SEGMENTATION, set(), False),
    (6001, ALWAYS | {"ptc", "affinity"} | SEGMENTATION, set(), True),
    (7999, ALWAYS | {"ptc", "affinity"} | SEGMENTATION, set(), True),
    (8000, ALWAYS | {"ptc", "affinity"} | SEGMENTATION, {"distribution"}, True),
    (19999, ALWAYS | {"ptc", "affinity"} | SEGMENTATION, {"distribution"}, True),
]
SWITCHED = {"affinity", "distribution", "segmentation"}
COCO = [
    (0, ALWAYS, set(), False),
    (6001, ALWAYS, set(), True),
    (8000, ALWAYS, set(), True),
    (8001, ALWAYS | {"ptc"}, set(), True),
    (12000, ALWAYS | {"ptc"}, set(), True),
    (12001, ALWAYS | {"ptc", "affinity"}, set(), True),
    (16000, ALWAYS | {"ptc", "affinity"}, set(), True),
    (16001, ALWAYS | {"ptc", "affinity"} | SEGMENTATION, set(), True),
    (29999, ALWAYS | {"ptc", "affinity"} | SEGMENTATION, set(), True),
    (30000, ALWAYS | {"ptc", "affinity"} | SEGMENTATION, SWITCHED, True),
    (79999, ALWAYS | {"ptc", "affinity"} | SEGMENTATION, SWITCHED, True),
]


@pytest.mark.parametrize(
    ("dataset", "iteration", "active", "mutual", "late"),
    [("voc", *row) for row in VOC] + [("coco", *row) for row in COCO],
)
def test_published_recipes(
    dataset: str, iteration: int, active: set[str], mutual: set[str], late: bool
) -> None:
    recipe = load(ROOT / "params.yaml").recipe(dataset)
    assert plan(recipe, iteration) == (active, mutual, late)


def test_weight_zero_switches_a_loss_off() -> None:
    settings = ["datasets.voc.losses.ptc.weight=0", "datasets.voc.losses.energy.weight=0"]
    recipe = load(ROOT / "params.yaml", settings).recipe("voc")
    assert plan(recipe, 10000)[0] == ALWAYS | {"affinity", "segmentation"}


def test_few_plans_in_a_whole_run() -> None:
    """A recorded step is recorded once for each."""
    recipe = load(ROOT / "params.yaml").recipe("voc")
    plans = {ActiveLosses.at(iteration, recipe.losses, recipe.pseudo_label) for iteration in range(20000)}
    assert len(plans) == 4


def test_losses_that_begin_when_training_is_over_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = ROOT / "params.yaml"
    for setting, late in (
        ("recipe.train.iterations=20000", []),
        ("recipe.train.iterations=2002", []),
        ("recipe.train.iterations=2001", ["segmentation", "energy"]),
    ):
        assert too_late(load(params, [setting]).recipe("voc")) == late
    assert too_late(load(params, ["recipe.losses.energy={weight: 0, after: 10000000}"]).recipe("voc")) == []

    data = prepared(tmp_path)
    run(data, tmp_path / "out", "small.train.iterations=2", "small.losses.energy.after=0")
    said = capsys.readouterr().err
    assert "warning: train.iterations: 2: training is over before these losses count, and what" in said
    assert "not learned: segmentation; lower losses.segmentation.after" in said
    run(data, tmp_path / "whole")
    assert "is over before" not in capsys.readouterr().err
