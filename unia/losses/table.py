"""Every loss by its name in params.yaml, and how it is computed for a batch. Method section 4.

All are computed in float32, whatever the precision of the network's passes.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from unia.data.normalise import denormalise
from unia.losses.affinity import contrastive_affinity
from unia.losses.batch import Batch
from unia.losses.classification import classification
from unia.losses.distribution import distribution, sample_mean
from unia.losses.energy import energy
from unia.losses.ptc import ptc
from unia.losses.segmentation import segmentation
from unia.refine.affinity import radius_mask
from unia.refine.pseudo_label import confident, to_tokens

ENERGY_FACTOR = 1e-7
"""The published factor of the dense energy, below its weight (Tang et al., ECCV 2018, "rloss")."""


def _affinity(batch: Batch) -> Tensor:
    grid, config = batch.pseudo.grid, batch.recipe.pseudo_label
    tokens = batch.pseudo.auxiliary_tokens
    if "affinity" in batch.active.mutual:
        label = batch.pseudo.named(batch.pseudo.mutual)  # mixed numbers depend on the numbering
        tokens = to_tokens(label, *grid, config.token_resize)
    near = radius_mask(*grid, config.radius, batch.images.device)
    return contrastive_affinity(batch.output.affinity.float(), tokens, near)


def _distribution(batch: Batch) -> Tensor:
    grid, output = batch.pseudo.grid, batch.output
    assert output.mean is not None
    assert output.log_variance is not None
    label = batch.pseudo.mutual if "distribution" in batch.active.mutual else batch.pseudo.auxiliary_tokens
    samples = batch.recipe.losses.distribution.samples
    drawn = sample_mean(output.mean.float(), output.log_variance.float(), samples, batch.noise)
    return distribution(drawn.unflatten(1, grid), confident(label, grid))


def _energy(batch: Batch) -> Tensor:
    config = batch.recipe.losses.energy
    images = denormalise(batch.images) * 255
    settings = (config.sigma_rgb, config.sigma_xy, config.scale, config.filter)
    return ENERGY_FACTOR * energy(images, batch.seg_logits, batch.seg_label, *settings)


LOSSES: Mapping[str, Callable[[Batch], Tensor]] = {
    "classification": lambda batch: classification(batch.output.cls_logits.float(), batch.labels),
    "classification_aux": lambda batch: classification(batch.output.cls_aux_logits.float(), batch.labels),
    "ptc": lambda batch: ptc(batch.output.features.float(), batch.pseudo.auxiliary_tokens),
    "affinity": _affinity,
    "distribution": _distribution,
    "segmentation": lambda batch: segmentation(batch.seg_logits, batch.seg_label),
    "energy": _energy,
}
"""One for each field of `unia.recipe.Losses`."""
