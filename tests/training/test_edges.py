"""Batches in which a loss has nothing to hold on to: all stay finite, with finite gradients.

A mean over no pixels is 0/0: the best known NaN of this field.
"""

import pytest
import torch
from test_objective import ALL, CPU, batch, network, plan, recipe
from torch import Tensor

from unia.refine.pseudo_label import PseudoLabels
from unia.training import objective as module
from unia.training.objective import Objective

CAMS = {"ignored": 0.5, "background": 0.0, "one class": 1.0}
"""A constant CAM, and what the two thresholds of VOC (0.25 and 0.7) make of it everywhere."""
LABEL = {"ignored": {255}, "background": {0}, "one class": {1}}


@pytest.mark.parametrize("crop", [32, 8], ids=["16 tokens", "one token"])
@pytest.mark.parametrize("mutual", [False, True], ids=["early", "late"])
@pytest.mark.parametrize("what", CAMS)
def test_losses_and_gradients_stay_finite(
    what: str, mutual: bool, crop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[PseudoLabels] = []

    class Kept(PseudoLabels):
        def __init__(self, *arguments: object):
            super().__init__(*arguments)  # type: ignore[arg-type]
            made.append(self)

    def constant(*arguments: object) -> tuple[Tensor, Tensor]:
        classes = arguments[-1]
        assert isinstance(classes, Tensor)
        cams = torch.full((*classes.shape, crop, crop), CAMS[what])
        return cams, cams

    monkeypatch.setattr(module, "PseudoLabels", Kept)
    monkeypatch.setattr(module, "multi_scale_cams", constant)
    config = recipe(**{"train.crop": crop, "pseudo_label.cam_scales": "[1]"})
    model = network(config)
    images, labels = batch()
    labels = torch.zeros_like(labels)
    labels[:, 2] = 1
    objective = Objective(model, config, CPU)
    losses = objective(images[:, :, :crop, :crop], labels, 1, plan(mutual=mutual))
    assert losses.keys() == ALL
    assert all(loss.isfinite() for loss in losses.values())
    for name, loss in losses.items():
        model.zero_grad(set_to_none=True)
        loss.backward(retain_graph=True)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert gradients
        assert all(gradient.isfinite().all() for gradient in gradients), name
    for label in (made[0].auxiliary_tokens, made[0].thresholded, made[0].refined):
        assert set(label.flatten().tolist()) == LABEL[what]
