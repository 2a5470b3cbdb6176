"""UniA's network (method section 1): backbone, uncertainty inference and heads.

B images of 3 x H x W pixels; patch size p; h = H/p, w = W/p, N = h w tokens of width D; C foreground classes.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unia.errors import UserError
from unia.model.backbone import Backbone
from unia.model.heads import Affinity, LargeFOV
from unia.model.uncertainty import Uncertainty
from unia.recipe import Model


class Output(NamedTuple):
    """All that training and evaluation use of a forward pass."""

    cls_logits: Tensor  # B C
    cls_aux_logits: Tensor  # B C
    seg_logits: Tensor  # B C+1 h w
    features: Tensor  # B D h w, the feature map X
    features_aux: Tensor  # B D h w
    affinity: Tensor  # B N N in (0, 1)
    mean: Tensor | None  # B N D; None without uncertainty inference
    log_variance: Tensor | None  # B N D


class UniA(nn.Module):
    """The network; `build` makes one from a configuration."""

    def __init__(self, backbone: Backbone, uncertainty: Uncertainty | None, decoder: LargeFOV, classes: int):
        super().__init__()
        self.backbone = backbone
        self.uncertainty = uncertainty
        self.decoder = decoder
        self.affinity = Affinity(2 * backbone.heads)
        self.classifier = nn.Conv2d(backbone.width, classes, 1, bias=False)
        self.classifier_aux = nn.Conv2d(backbone.width, classes, 1, bias=False)

    @property
    def classes(self) -> int:
        """Number of foreground classes."""
        return self.classifier.out_channels

    def forward(self, images: Tensor) -> Output:
        """Everything, for normalised `images` B 3 H W (H and W multiples of the patch size)."""
        tokens = self.backbone(images, attention=True)
        reread, mean, log_variance = self._reread(tokens.final, tokens.grid, mean=True)
        features = _as_map(2 * reread, tokens.grid)
        features_aux = _as_map(tokens.auxiliary, tokens.grid)
        return Output(
            cls_logits=self.classifier(F.adaptive_max_pool2d(features, 1)).flatten(1),
            cls_aux_logits=self.classifier_aux(F.adaptive_max_pool2d(features_aux, 1)).flatten(1),
            seg_logits=self.decoder(features),
            features=features,
            features_aux=features_aux,
            affinity=self.affinity(tokens.attention),
            mean=mean,
            log_variance=log_variance,
        )

    def feature_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(X, auxiliary features), both B D h w: a pass without decoder, affinity and mean."""
        tokens = self.backbone(images, attention=False)
        reread, _, _ = self._reread(tokens.final, tokens.grid, mean=False)
        return _as_map(2 * reread, tokens.grid), _as_map(tokens.auxiliary, tokens.grid)

    def log_variance(self, images: Tensor) -> Tensor | None:
        """B N D of the uncertainty inference alone; None without it."""
        if self.uncertainty is None:
            return None
        tokens = self.backbone(images, attention=False)
        return self._reread(tokens.final, tokens.grid, mean=False)[2]

    def segment(self, images: Tensor) -> Tensor:
        """Segmentation logits B C+1 h w alone."""
        features, _ = self.feature_maps(images)
        return self.decoder(features)

    def cams(self, features: Tensor, features_aux: Tensor) -> tuple[Tensor, Tensor]:
        """Class activation maps B C h w of the two feature maps, unnormalised, without gradient."""
        with torch.no_grad():
            return self.classifier(features), self.classifier_aux(features_aux)

    def _reread(
        self, tokens: Tensor, grid: tuple[int, int], mean: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if self.uncertainty is None:
            return tokens, None, None
        return self.uncertainty(tokens, grid, mean)


def build(config: Model, classes: int, pretrained: bool = False) -> UniA:
    """The network that `config` describes, for `classes` foreground classes.

    `pretrained`: the backbone starts from timm's weights, if `config.weights` says so.
    """
    changes = config.vit.model_dump(exclude_none=True)
    backbone = Backbone(config.backbone, changes, pretrained=pretrained and config.weights == "timm")
    inference, decoder = config.uncertainty, config.decoder
    if backbone.width % inference.heads:
        raise UserError(
            f"model.uncertainty.heads: {inference.heads} must divide the backbone's width, {backbone.width}"
        )
    uncertainty = Uncertainty(
        width=backbone.width,
        hidden=inference.hidden,
        heads=inference.heads,
        pooling=inference.pooling,
        mlp=inference.mlp,
        separate_mean=inference.mean_mlp == "separate",
        constant=inference.damping == "constant",
    )
    large_fov = LargeFOV(backbone.width, decoder.channels, classes + 1, decoder.dilation)
    return UniA(backbone, uncertainty if inference.use else None, large_fov, classes)


def _as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """B N D -> B D h w."""
    return tokens.transpose(1, 2).unflatten(2, grid)
