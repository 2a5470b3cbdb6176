"""One training step's losses: forward pass, CAMs, pseudo labels, and the seven terms. Method sections 2 to 4.

Losses and refinement are computed in float32 whatever the precision of the network's passes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from unia.data.normalise import denormalise
from unia.losses.affinity import contrastive_affinity
from unia.losses.classification import classification
from unia.losses.distribution import distribution, sample_mean
from unia.losses.energy import energy
from unia.losses.ptc import ptc
from unia.losses.segmentation import segmentation
from unia.model.cam import multi_scale_cams
from unia.model.network import Output, UniA
from unia.model.precision import passes
from unia.recipe import Losses, PseudoLabel, Recipe, SwitchedLoss
from unia.refine.affinity import radius_mask
from unia.refine.pseudo_label import (
    cam_label,
    confident,
    mutual,
    refined_labels,
    to_tokens,
    token_label,
    undo_normalisation,
)
from unia.refine.resize import resize_by_matrix

ENERGY_FACTOR = 1e-7
"""The published factor of the dense energy, below its weight (Tang et al., ECCV 2018, "rloss")."""


@dataclass(frozen=True)
class Plan:
    """Which losses count at an iteration, and which of them take the mutual label by then."""

    active: frozenset[str]
    mutual: frozenset[str]
    late: bool  # the late rule of mutual refinement holds

    @classmethod
    def at(cls, iteration: int, losses: Losses, pseudo_label: PseudoLabel) -> "Plan":
        """The plan of `iteration` (from 0).

        As in the reference a loss counts at iterations > `after` (with 0 from the first on), and the late
        rule holds at iterations > `late_after`; but a label changes its source at iterations >=
        `mutual_after`.
        """
        active, switched = set(), set()
        for name in Losses.model_fields:
            loss = getattr(losses, name)
            after = getattr(loss, "after", 0)
            if loss.weight > 0 and (after == 0 or iteration > after):
                active.add(name)
                switch = loss.mutual_after if isinstance(loss, SwitchedLoss) else None
                if switch is not None and iteration >= switch:
                    switched.add(name)
        return cls(frozenset(active), frozenset(switched), iteration > pseudo_label.late_after)


class PseudoLabels:
    """The label maps of a batch (B H W, or B h w for tokens), each computed when first asked for.

    Labels are places 1..K among an image's own classes, 0 background, 255 ignored; see `named`.
    """

    def __init__(
        self,
        images: Tensor,
        present: Tensor,
        classes: Tensor,
        output: Output,
        cams: Callable[[], tuple[Tensor, Tensor]],
        late: bool,
        config: PseudoLabel,
    ):
        """images B 3 H W normalised; classes B K, the indices of each image's classes, of which those
        count that are `present` (B K in {0, 1}); `cams` makes CAM and auxiliary CAM, B K H W."""
        self.images, self.present, self.classes, self.output = images, present, classes, output
        self.late, self.config = late, config
        self.grid = (output.features.shape[-2], output.features.shape[-1])
        self._make_cams = cams

    @cached_property
    def auxiliary_tokens(self) -> Tensor:
        """The two-threshold label of the auxiliary CAM, for tokens."""
        return token_label(self._cams[1], self.present, self.grid, self.config.high, self.config.low)

    @property
    def refined(self) -> Tensor:
        """The CAM's label refined by PAR."""
        return self._refined[0]

    @property
    def affinity_refined(self) -> Tensor:
        """The CAM's label, propagated by the affinity and refined by PAR."""
        return self._refined[1]

    @cached_property
    def mutual(self) -> Tensor:
        """Mutual complementing refinement of the CAM's, the refined and the affinity-refined label."""
        return mutual(self.thresholded, self.refined, self.affinity_refined, self.late)

    @cached_property
    def thresholded(self) -> Tensor:
        """The two-threshold label of the CAM."""
        return cam_label(self._cams[0], self.present, self.config.high, self.config.low)

    @cached_property
    def _cams(self) -> tuple[Tensor, Tensor]:
        return self._make_cams()

    @cached_property
    def _refined(self) -> tuple[Tensor, Tensor]:
        config = self.config
        return refined_labels(
            self._cams[0],
            self.present,
            self.output.affinity.detach().float(),
            undo_normalisation(self.images),
            high=config.high,
            low=config.low,
            tokens=self.grid,
            max_classes=self.classes.shape[1],
            dilations=config.par_dilations,
            iterations=config.par_iterations,
        )

    def named(self, label: Tensor) -> Tensor:
        """B H W: the label map with the dataset's classes, 0 and 255 as they are."""
        ids = F.pad(self.classes + 1, (1, 0))
        known = label.clamp(max=ids.shape[1] - 1).flatten(1)
        return torch.where(label == 255, label, ids.gather(1, known).view_as(label))


class Objective:
    """The losses of a batch under a recipe, each before its weight."""

    def __init__(self, model: UniA, recipe: Recipe, device: torch.device):
        self.model = model
        self.recipe = recipe
        self.device = device
        self._autocast = passes(device, recipe.train.precision)

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        max_classes: int,
        plan: Plan,
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

        pseudo = PseudoLabels(images, present, classes, output, cams, plan.late, config)
        size = (images.shape[-2], images.shape[-1])
        seg_logits = cache(lambda: resize_by_matrix(output.seg_logits.float(), size))  # for two losses
        return {
            name: self._loss(name, images, labels, output, seg_logits, pseudo, plan, noise, masks)
            for name in sorted(plan.active)
        }

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the active losses."""
        weighted = [getattr(self.recipe.losses, name).weight * loss for name, loss in losses.items()]
        return torch.stack(weighted).sum()

    def _loss(
        self,
        name: str,
        images: Tensor,
        labels: Tensor,
        output: Output,
        seg_logits: Callable[[], Tensor],
        pseudo: PseudoLabels,
        plan: Plan,
        noise: torch.Generator | None,
        masks: Tensor | None,
    ) -> Tensor:
        config = self.recipe.losses
        grid = pseudo.grid
        match name:
            case "classification":
                return classification(output.cls_logits.float(), labels)
            case "classification_aux":
                return classification(output.cls_aux_logits.float(), labels)
            case "ptc":
                return ptc(output.features.float(), pseudo.auxiliary_tokens)
            case "affinity":
                tokens = pseudo.auxiliary_tokens
                if name in plan.mutual:
                    label = pseudo.named(pseudo.mutual)  # mixed numbers depend on the numbering
                    tokens = to_tokens(label, *grid, self.recipe.pseudo_label.token_resize)
                near = radius_mask(*grid, self.recipe.pseudo_label.radius, self.device)
                return contrastive_affinity(output.affinity.float(), tokens, near)
            case "distribution":
                assert output.mean is not None
                assert output.log_variance is not None
                label = pseudo.mutual if name in plan.mutual else pseudo.auxiliary_tokens
                samples = config.distribution.samples
                drawn = sample_mean(output.mean.float(), output.log_variance.float(), samples, noise)
                return distribution(drawn.unflatten(1, grid), confident(label, grid))
        if masks is not None:
            label = masks
        else:
            label = pseudo.named(pseudo.mutual if "segmentation" in plan.mutual else pseudo.refined)
        if name == "segmentation":
            return segmentation(seg_logits(), label)
        settings = (
            config.energy.sigma_rgb,
            config.energy.sigma_xy,
            config.energy.scale,
            config.energy.filter,
        )
        return ENERGY_FACTOR * energy(denormalise(images) * 255, seg_logits(), label, *settings)
