"""The losses of a training step: a tiny network on the CPU."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from unia.config import load
from unia.losses import table
from unia.losses.schedule import ActiveLosses
from unia.losses.table import ENERGY_FACTOR, LOSSES
from unia.model.cam import multi_scale_cams
from unia.model.network import UniA, build
from unia.recipe import Losses, Recipe
from unia.training import objective as module
from unia.training.loop import make_step
from unia.training.noise import Noise
from unia.training.objective import Objective
from unia.training.optimiser import build_optimiser
from unia.training.processes import Processes

ROOT = Path(__file__).parents[2]
CLASSES = 5
ALL = frozenset(Losses.model_fields)
CPU = torch.device("cpu")


def recipe(**settings: object) -> Recipe:
    """The published losses on a network of toy size, crops of 32 pixels and tokens of 8."""
    tiny = {
        "model.vit": "{img_size: 32, patch_size: 8, embed_dim: 32, depth: 4, num_heads: 2}",
        "model.backbone": "vit_tiny_patch16_224",
        "model.uncertainty.hidden": 16,
        "model.uncertainty.heads": 2,
        "model.uncertainty.pooling": 2,
        "model.uncertainty.mlp": "[16, 8]",
        "model.decoder.channels": 8,
        "train.crop": 32,
        "infer.size": 32,
        "train.precision": "float32",
        "pseudo_label.par_iterations": 2,
        "pseudo_label.par_dilations": "[1, 2]",
        **settings,
    }
    return load(ROOT / "params.yaml", [f"datasets.voc.{key}={value}" for key, value in tiny.items()]).recipe(
        "voc"
    )


def network(recipe: Recipe) -> UniA:
    torch.manual_seed(4)
    return build(recipe.model, CLASSES).train()


def batch(count: int = 2) -> tuple[Tensor, Tensor]:
    """Normalised images and labels, of one, two and three classes in turn."""
    images = torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(count, CLASSES)
    for row in range(count):
        labels[row, [(row + k) % CLASSES for k in range(1 + row % 3)]] = 1
    return images, labels


def plan(*losses: str, mutual: bool = False) -> ActiveLosses:
    active = frozenset(losses) or ALL
    switched = active & {"affinity", "distribution", "segmentation"} if mutual else frozenset()
    return ActiveLosses(active, frozenset(switched), late=mutual)


@pytest.mark.parametrize("mutual", [False, True])
def test_every_loss_is_finite(mutual: bool) -> None:
    config = recipe()
    objective = Objective(network(config), config, CPU)
    losses = objective(*batch(), 2, plan(mutual=mutual))
    assert losses.keys() == ALL
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    expected = sum(
        float(loss.detach()) * getattr(config.losses, name).weight for name, loss in losses.items()
    )
    assert float(objective.total(losses).detach()) == pytest.approx(expected, rel=1e-5)


def reached(model: UniA, loss: Tensor) -> set[str]:
    """The parts of the network (first two names) with a gradient that is not zero."""
    model.zero_grad(set_to_none=True)
    loss.backward()
    parts = set()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and bool(parameter.grad.abs().max() > 0):
            first, second = name.split(".")[:2]
            parts.add(f"{first}.{second}" if first == "uncertainty" else first)
    return parts


FEATURES = {"backbone", "uncertainty.embed", "uncertainty.log_variance", "uncertainty.attention"}
REACHED = {
    "classification": FEATURES | {"classifier"},
    "classification_aux": {"backbone", "classifier_aux"},
    "ptc": FEATURES,
    "affinity": {"backbone", "affinity"},
    "distribution": {"backbone", "uncertainty.embed", "uncertainty.log_variance", "uncertainty.mean"},
    "segmentation": FEATURES | {"decoder"},
    "energy": FEATURES | {"decoder"},
}


@pytest.mark.parametrize("name", sorted(ALL))
@pytest.mark.parametrize("mutual", [False, True])
def test_where_gradients_go(name: str, mutual: bool) -> None:
    """Into what the loss is computed from, and not through CAMs and pseudo labels."""
    config = recipe()
    model = network(config)
    loss = Objective(model, config, CPU)(*batch(), 2, plan(name, mutual=mutual))[name]
    assert reached(model, loss) == REACHED[name]


def test_the_shared_mlp_learns_and_the_unused_one_does_not() -> None:
    for choice in ("shared", "separate"):
        config = recipe(**{"model.uncertainty.mean_mlp": choice})
        model = network(config)
        Objective(model, config, CPU)(*batch(), 2, plan("distribution"))["distribution"].backward()
        assert model.uncertainty is not None
        own = any(p.grad is not None and p.grad.any() for p in model.uncertainty.mean.mlp.parameters())
        assert own == (choice == "separate")


def test_gradients_are_those_of_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the CAMs held constant, the gradient stays: so none came from the passes that make them."""
    config = recipe()
    made: list[tuple[Tensor, Tensor]] = []

    def gradient(cams: object) -> Tensor:
        model = network(config)
        monkeypatch.setattr(module, "multi_scale_cams", cams)
        torch.manual_seed(0)
        objective = Objective(model, config, CPU)
        objective.total(objective(*batch(), 2, plan())).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    def recorded(*arguments: object) -> tuple[Tensor, Tensor]:
        made.append(multi_scale_cams(*arguments))  # type: ignore[arg-type]
        return made[-1]

    straight = gradient(recorded)
    assert len(made) == 1  # one set of CAMs for all losses
    assert not made[0][0].requires_grad
    torch.testing.assert_close(gradient(lambda *_: made[0]), straight, rtol=0, atol=0)


def test_only_the_losses_of_the_plan_are_computed() -> None:
    config = recipe()
    objective = Objective(network(config), config, CPU)
    assert objective(*batch(), 2, plan("ptc", "energy")).keys() == {"ptc", "energy"}


def test_every_loss_of_params_yaml_is_computed_by_its_own_function() -> None:
    assert LOSSES.keys() == Losses.model_fields.keys()
    assert len(set(LOSSES.values())) == len(LOSSES)


def test_a_loss_that_nothing_computes_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the training before it begins."""
    config = recipe()
    monkeypatch.setattr(module, "LOSSES", {name: LOSSES[name] for name in LOSSES if name != "ptc"})
    with pytest.raises(KeyError, match="ptc"):
        Objective(network(config), config, CPU)


def test_classification_needs_no_cams(monkeypatch: pytest.MonkeyPatch) -> None:
    config = recipe()
    monkeypatch.setattr(module, "multi_scale_cams", None)
    objective = Objective(network(config), config, CPU)
    objective(*batch(), 2, plan("classification", "classification_aux"))


def test_spare_places_for_classes_change_nothing() -> None:
    """`max_classes` may exceed what the batch needs."""
    config = recipe()
    objective = Objective(network(config), config, CPU)
    found = []
    for most in (2, CLASSES):
        torch.manual_seed(0)
        found.append(objective(*batch(), most, plan(mutual=True)))
    for name in ALL:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-5, atol=1e-9)


def test_an_image_without_classes_is_all_background() -> None:
    config = recipe()
    images, labels = batch(1)
    losses = Objective(network(config), config, CPU)(images, torch.zeros_like(labels), 1, plan())
    assert all(loss.isfinite() for loss in losses.values())


def test_the_energy_carries_its_published_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    config = recipe()
    monkeypatch.setattr(table, "energy", lambda *_: torch.tensor(-3.0))
    objective = Objective(network(config), config, CPU)
    loss = objective(*batch(), 2, plan("energy"))["energy"]
    assert float(loss) == pytest.approx(-3e-7)
    assert ENERGY_FACTOR == 1e-7


def step_of(
    accumulate: int, images: Tensor, labels: Tensor, active: ActiveLosses
) -> tuple[Tensor, dict[str, Tensor]]:
    """(gradients, losses) of one step in so many parts."""
    config = recipe(**{"train.accumulate": accumulate, "train.batch": len(images)})
    model = network(config)
    step = make_step(model, config, build_optimiser(model, config.train), CPU)
    losses = step(images, labels, int(labels.sum(1).max()), active)
    return nn.utils.parameters_to_vector(p.grad for p in model.parameters() if p.grad is not None), losses


def test_identical_halves_in_two_parts_as_in_one() -> None:
    """Classification is a mean over images, so two parts of a batch average to the whole."""
    images, labels = (torch.cat([x, x]) for x in batch())
    active = plan("classification", "classification_aux")
    whole, losses = step_of(1, images, labels, active)
    parts, losses_of_parts = step_of(2, images, labels, active)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)
    for name, loss in losses.items():
        torch.testing.assert_close(losses_of_parts[name], loss)


def test_what_parts_of_a_batch_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Means over images are those of the whole; what a part counts itself is not (docs/training.md)."""
    monkeypatch.setattr(table, "sample_mean", lambda mean, *_: mean.mean(2))  # nothing drawn
    config = recipe()
    objective = Objective(network(config), config, CPU)
    images, labels = batch(4)
    whole = objective(images, labels, 3, plan())
    parts = [objective(images[own], labels[own], 3, plan()) for own in (slice(0, None, 2), slice(1, None, 2))]
    mean = {name: (parts[0][name] + parts[1][name]) / 2 for name in whole}
    same = {name for name in whole if torch.allclose(mean[name], whole[name], rtol=1e-6, atol=0)}
    assert same == {"classification", "classification_aux", "distribution", "energy"}
    assert float(mean["affinity"].detach() / whole["affinity"].detach()) == pytest.approx(2, rel=0.05)


def test_each_part_draws_noise_of_its_own() -> None:
    """Whoever computes it: of one process two generators, of two processes one each."""
    train = recipe(**{"train.accumulate": 2, "train.batch": 2}).train
    drawn = []
    for processes in (Processes(CPU), Processes(CPU, 0, 2), Processes(CPU, 1, 2)):
        noise = Noise(train, processes)
        for iteration in (3, 4, 3):
            noise.at(iteration)
            rows = [torch.randn(5, generator=generator) for generator in noise.generators]
        drawn.append(torch.stack(rows))
    torch.testing.assert_close(torch.cat(drawn[1:]), drawn[0], rtol=0, atol=0)
    assert not torch.equal(*drawn[0])


def test_a_step_moves_the_network() -> None:
    config = recipe(**{"train.batch": 2})
    model = network(config)
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    optimiser = build_optimiser(model, config.train)
    for group in optimiser.param_groups:
        group["lr"] = 1e-3
    losses = make_step(model, config, optimiser, CPU)(*batch(), 2, plan())
    assert losses.keys() == ALL | {"loss"}
    moved = {name for name, tensor in model.named_parameters() if not torch.equal(tensor, before[name])}
    assert {"decoder.conv3.weight", "classifier.weight", "affinity.project.weight"} <= moved
    assert "backbone.vit.pos_embed" not in moved
