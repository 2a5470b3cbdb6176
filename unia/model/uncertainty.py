"""Uncertainty inference: every token as a Gaussian, whose variance keeps attention off ambiguity.

Paper, section III-B; method section 1. N = h w tokens of width D; E is their embedding of width `hidden`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Uncertainty(nn.Module):
    """Mean and log-variance of each token, and the tokens after attention that damps uncertain ones."""

    def __init__(
        self,
        width: int,
        hidden: int,
        heads: int,
        pooling: int,
        mlp: tuple[int, int],
        separate_mean: bool,
        constant: bool = False,
    ):
        """`constant`: u is 1/2 for every token, as if nothing were inferred: the attention alone is left.

        `separate_mean`: the mean goes through an MLP of its own, as the paper draws it.

        By default it shares the log-variance's, as the reference computes it; the reference's own mean
        MLP and one 1x1 convolution then stay unused, and are kept so that its checkpoints round-trip.
        """
        super().__init__()
        self.pooling = pooling
        self.embed = ProjectionMLP(width, hidden, mlp)
        self.mean = Branch(hidden, heads, width, mlp)
        self.log_variance = Branch(hidden, heads, width, mlp)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.unused = nn.Conv2d(hidden, hidden, 1).requires_grad_(False)
        self.separate_mean = separate_mean
        self.constant = constant
        self.mean.mlp.requires_grad_(separate_mean)
        for part in (self.embed, self.mean.mlp, self.log_variance.mlp):
            part.last.weight_g.requires_grad_(False)

    def forward(
        self, tokens: Tensor, grid: tuple[int, int], mean: bool
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """tokens B N D -> (re-read tokens F', mean (None if not asked for), log-variance), all B N D."""
        e = self.embed(tokens)
        pooled = self._pool(e, grid)
        log_variance = self.log_variance.mlp(self.log_variance(e, pooled))
        mean_mlp = self.mean.mlp if self.separate_mean else self.log_variance.mlp
        mu = mean_mlp(self.mean(e, pooled)) if mean else None
        u: Tensor | float = 0.5 if self.constant else log_variance.sigmoid()
        damped = tokens * (1 - u)
        reread, _ = self.attention(tokens, damped, damped, need_weights=False)
        return tokens + reread, mu, log_variance

    def _pool(self, e: Tensor, grid: tuple[int, int]) -> Tensor:
        """E max-pooled on the token grid (an incomplete last window is dropped): B n hidden."""
        window = min(self.pooling, *grid)
        square = e.transpose(1, 2).unflatten(2, grid)
        return F.max_pool2d(square, window, window).flatten(2).transpose(1, 2)


def uncertainty(log_variance: Tensor, grid: tuple[int, int]) -> Tensor:
    """u, how much of each token the network leaves out: h w in (0, 1), of an image's log-variance N D.

    A token counts as token * (1 - sigmoid(log-variance)) where others attend to it (method section 1);
    this is the mean over D of that sigmoid. Of a network whose u is constant it is what would be inferred.
    """
    return log_variance.float().sigmoid().mean(-1).unflatten(0, grid)


class Branch(nn.Module):
    """Channel part plus spatial part of E, and the MLP that follows it."""

    def __init__(self, hidden: int, heads: int, width: int, mlp: tuple[int, int]):
        super().__init__()
        self.channel = nn.Conv2d(hidden, hidden, 1, groups=hidden)
        self.spatial = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.mlp = ProjectionMLP(hidden, width, mlp)

    def forward(self, e: Tensor, pooled: Tensor) -> Tensor:
        """e B N hidden, pooled B n hidden -> B N hidden, before the MLP."""
        assert self.channel.bias is not None
        channel = e * self.channel.weight.flatten() + self.channel.bias  # a depthwise 1x1 convolution
        spatial, _ = self.spatial(e, pooled, pooled, need_weights=False)
        return channel + spatial


class ProjectionMLP(nn.Module):
    """Three linear layers with GELU, L2-normalised, then a linear layer whose rows have length one."""

    def __init__(self, inputs: int, outputs: int, mlp: tuple[int, int]):
        super().__init__()
        hidden, bottleneck = mlp
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.last = UnitRowLinear(bottleneck, outputs)
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.normalize(self.layers(x), dim=-1))


class UnitRowLinear(nn.Module):
    """Linear layer without bias, its weight normalised row by row to the magnitudes `weight_g` (ones)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight_g = nn.Parameter(torch.ones(outputs, 1))
        self.weight_v = nn.Parameter(torch.empty(outputs, inputs))
        nn.init.uniform_(self.weight_v, -(inputs**-0.5), inputs**-0.5)  # as torch starts a Linear

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, F.normalize(self.weight_v, dim=1) * self.weight_g)
