"""Pseudo labels from CAMs: by thresholds, by PAR, by affinity and PAR, and their mutual complement.

UniA, IEEE TMM 2025 (arXiv 2404.08195); thresholds and PAR as in AFA (Ru et al., CVPR 2022).
In every label map 0 is background, c+1 is class c and 255 is ignored. Nothing here waits for the GPU.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unia.data.normalise import levels
from unia.labels import IGNORE
from unia.recipe import PseudoLabel
from unia.refine.affinity import along, present_softmax, with_background
from unia.refine.par import par_weights, refine
from unia.resize import resize
from unia.scoring.sweep import LEVELS


@torch.no_grad()
def cam_label(cams: Tensor, labels: Tensor, high: float, low: float) -> Tensor:
    """The strongest present class where it exceeds `high`, 0 where at most `low`, else 255: B x H x W, int64.

    cams: B x C x H x W, normalised; labels: B x C in {0, 1}.
    """
    strength, label = _strongest(cams, labels)
    return label.masked_fill(strength <= high, IGNORE).masked_fill(strength <= low, 0)


@torch.no_grad()
def cam_label_background(cams: Tensor, labels: Tensor, background: float) -> Tensor:
    """The strongest present class where it exceeds `background`, else 0 (evaluation): B x H x W, int64."""
    strength, label = _strongest(cams, labels)
    return label.masked_fill(strength <= background, 0)


@torch.no_grad()
def cam_levels(cams: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The strongest present class at each pixel, and its strength in `LEVELS` levels: both B x H x W, int64.

    The strength exceeds k / LEVELS exactly where the level exceeds k, for whole k: so that
    `cam_label_background` follows from these two for every such threshold. Arguments as there.
    """
    strength, label = _strongest(cams, labels)
    return label, (strength * LEVELS).ceil().long()


def _strongest(cams: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    strength, index = (cams * labels[..., None, None]).max(1)
    return strength, index + 1


@torch.no_grad()
def refined_labels(
    cams: Tensor,
    labels: Tensor,
    affinity: Tensor,
    images: Tensor,
    *,
    high: float,
    low: float,
    tokens: tuple[int, int],
    dilations: Sequence[int],
    iterations: int,
) -> tuple[Tensor, Tensor]:
    """The refined and the affinity-refined label, each B x H x W, int64.

    cams: B x C x H x W, normalised; labels: B x C in {0, 1}; affinity: B x N x N, N = h*w, `tokens` = (h, w);
    images: B x 3 x H x W in [0, 1].

    Both kinds of masks (pixels; tokens times affinity), each with background `high` and `low`, share one PAR.
    """
    size = (cams.shape[-2], cams.shape[-1])
    half = (size[0] // 2, size[1] // 2)
    valid = cams * labels[..., None, None]

    filled = [with_background(valid, background) for background in (high, low)]
    masks = [present_softmax(resize(cam, half), labels) for cam in filled]
    masks += [resize(along(present_softmax(resize(cam, tokens), labels), affinity), half) for cam in filled]

    weights = par_weights(resize(images, half), dilations)
    refined = resize(refine(weights, torch.cat(masks, 1), dilations, iterations), size)
    # On a CPU max is 20 times as fast as argmax.
    label = refined.view(len(labels), len(masks), -1, *size).max(2).indices
    return _agreed(label[:, 0], label[:, 1]), _agreed(label[:, 2], label[:, 3])


def _agreed(high: Tensor, low: Tensor) -> Tensor:
    """The label under `high`; where that is background, background if `low` agrees, else 255."""
    return torch.where(high == 0, torch.where(low == 0, 0, IGNORE), high)


@torch.no_grad()
def mutual(pseudo: Tensor, refined: Tensor, affinity_refined: Tensor, late: bool) -> Tensor:
    """Mutual complementing refinement of three B x H x W label maps: B x H x W.

    `affinity_refined`, completed by the classes of `refined` where it names none; `late` in training
    (and in evaluation), `pseudo` and `refined` also win over it wherever they name the same class.
    """
    wins = _names_class(refined) & ~_names_class(affinity_refined)
    if late:
        wins |= _names_class(pseudo) & (pseudo == refined)
    return torch.where(wins, refined, affinity_refined)


def _names_class(label: Tensor) -> Tensor:
    return (label != 0) & (label != IGNORE)


def token_label(cams: Tensor, labels: Tensor, tokens: tuple[int, int], high: float, low: float) -> Tensor:
    """Labels of the tokens by two thresholds, from the auxiliary CAM resized to `tokens`: B x h x w, int64.

    cams: B x C x H x W, normalised; labels: B x C in {0, 1}.
    """
    return cam_label(resize(cams, tokens), labels, high, low)


@torch.no_grad()
def to_tokens(label: Tensor, h: int, w: int, how: Literal["nearest", "bilinear"]) -> Tensor:
    """A B x H x W label map brought down to B x h x w, float64.

    nearest: the label at the centre of each token. bilinear: as the reference does, label numbers are
    resized as if they were quantities. Tokens of mixed pixels then have numbers that mean nothing, and
    equal one another, or a class, by chance.
    """
    maps = label[:, None].double()  # exact for every label
    resized = F.interpolate(maps, (h, w), mode="nearest-exact") if how == "nearest" else resize(maps, (h, w))
    return resized[:, 0]


@torch.no_grad()
def confident(label: Tensor, size: tuple[int, int]) -> Tensor:
    """The confident foreground, target of the distribution loss: B x h x w in [0, 1], `size` = (h, w).

    1 where the B x H x W label names a class, 0 where it is background or 255; then resized, where the
    label is not of that size already. float32.
    """
    named = _names_class(label).float()
    return named if named.shape[1:] == size else resize(named[:, None], size)[:, 0]


@torch.no_grad()
def undo_normalisation(images: Tensor) -> Tensor:
    """Normalised images, B x 3 x H x W, back in [0, 1] and truncated to the 256 levels of 8 bits."""
    return levels(images).div_(255)


class PseudoLabels:
    """The label maps of a batch (B H W, or B h w for tokens), each computed when first asked for.

    Class numbers are local here: k is the k-th class that the image holds (0 is background, 255 ignored).
    `named` turns them into the dataset's.
    """

    def __init__(
        self,
        images: Tensor,
        present: Tensor,
        classes: Tensor,
        affinity: Tensor,
        grid: tuple[int, int],
        cams: Callable[[], tuple[Tensor, Tensor]],
        late: bool,
        config: PseudoLabel,
    ):
        """images B 3 H W normalised; classes B K, the indices of each image's classes, of which those
        count that are `present` (B K in {0, 1}); affinity B N N of the tokens of `grid`; `cams` makes CAM
        and auxiliary CAM, B K H W; `late`: whether the late rule of mutual refinement holds."""
        self.images, self.present, self.classes = images, present, classes
        self.affinity, self.grid = affinity, grid
        self.late, self.config = late, config
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
            self.affinity,
            undo_normalisation(self.images),
            high=config.high,
            low=config.low,
            tokens=self.grid,
            dilations=config.par_dilations,
            iterations=config.par_iterations,
        )

    def named(self, label: Tensor) -> Tensor:
        """B H W: the label map with the dataset's classes, 0 and 255 as they are."""
        ids = F.pad(self.classes + 1, (1, 0))
        known = label.clamp(max=ids.shape[1] - 1).flatten(1)
        return torch.where(label == IGNORE, label, ids.gather(1, known).view_as(label))
