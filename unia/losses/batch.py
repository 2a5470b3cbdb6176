"""What the losses of a training step are computed from."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unia.losses.schedule import ActiveLosses
from unia.model.network import Output
from unia.recipe import Recipe
from unia.refine.pseudo_label import PseudoLabels
from unia.resize import resize_by_matrix


@dataclass(frozen=True)
class Batch:
    """A batch, the network's output and the pseudo labels; everything on the device."""

    images: Tensor  # B 3 H W, normalised
    labels: Tensor  # B C in {0, 1}
    output: Output
    pseudo: PseudoLabels
    active: ActiveLosses
    recipe: Recipe
    noise: torch.Generator | None = None  # of the distribution's draws; None: the device's own
    masks: Tensor | None = None  # B H W, which supervise the segmentation in the place of pseudo labels

    @cached_property
    def seg_logits(self) -> Tensor:
        """B C+1 H W, float32: the segmentation's logits at the size of the images."""
        size = (self.images.shape[-2], self.images.shape[-1])
        return resize_by_matrix(self.output.seg_logits.float(), size)

    @cached_property
    def seg_label(self) -> Tensor:
        """B H W: what the segmentation learns, with the dataset's classes."""
        if self.masks is not None:
            return self.masks
        mutual = "segmentation" in self.active.mutual
        return self.pseudo.named(self.pseudo.mutual if mutual else self.pseudo.refined)
