"""One training step's losses: the network's pass, CAMs and pseudo labels, then the losses that count.

Method sections 2 to 4.
"""

import torch
from torch import Tensor

from unia.losses.batch import Batch
from unia.losses.schedule import ActiveLosses
from unia.losses.table import LOSSES
from unia.model.cam import multi_scale_cams
from unia.model.network import UniA
from unia.model.precision import passes
from unia.recipe import Recipe
from unia.refine.pseudo_label import PseudoLabels


class Objective:
    """The losses of a batch under a recipe, each before its weight."""

    def __init__(self, model: UniA, recipe: Recipe, device: torch.device):
        """KeyError, before anything is trained, where nothing computes a loss of the recipe."""
        self._functions = {name: LOSSES[name] for name in type(recipe.losses).model_fields}
        self.model = model
        self.recipe = recipe
        self.device = device
        self._autocast = passes(device, recipe.train.precision)

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        max_classes: int,
        active: ActiveLosses,
        noise: torch.Generator | None = None,
        masks: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """images B 3 H W normalised, labels B C in {0, 1}, on the device -> the active losses by name.

        `masks`, B H W, supervise the segmentation in the place of pseudo labels, where they are given.
        The distribution loss draws from `noise`, or from the device's own generator.

        `max_classes`: the most classes in one image, known where the labels are read. Within an image
        only its own classes matter, so CAMs and pseudo labels number these from 1 to `max_classes`.
        """
        present, classes = labels.sort(dim=1, descending=True, stable=True)
        present, classes = present[:, :max_classes], classes[:, :max_classes]
        config = self.recipe.pseudo_label
        with self._autocast:
            output = self.model(images)

        def cams() -> tuple[Tensor, Tensor]:
            known = (output.features, output.features_aux)
            with self._autocast:
                return multi_scale_cams(self.model, images, config.cam_scales, known, classes)

        affinity = output.affinity.detach().float()
        grid = (output.features.shape[-2], output.features.shape[-1])
        pseudo = PseudoLabels(images, present, classes, affinity, grid, cams, active.late, config)
        batch = Batch(images, labels, output, pseudo, active, self.recipe, noise, masks)
        return {name: self._functions[name](batch) for name in sorted(active.names)}

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the active losses."""
        weighted = [getattr(self.recipe.losses, name).weight * loss for name, loss in losses.items()]
        return torch.stack(weighted).sum()
