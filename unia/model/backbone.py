"""The ViT: its final tokens, the tokens of an earlier block, and the attention logits of the last two."""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from unia.errors import UserError
from unia.resize import resize_by_matrix


class Tokens(NamedTuple):
    """What the backbone gives: B images, N = h w patch tokens of width D, 2 x H heads."""

    final: Tensor  # B N D, after the last LayerNorm
    auxiliary: Tensor  # B N D, raw output of the third block from the end
    attention: Tensor | None  # B 2H N N, scaled logits of the last two blocks, patch to patch
    grid: tuple[int, int]  # h, w


class Backbone(nn.Module):
    """Any plain timm ViT, at any image size (paper, section III; method section 1).

    The position embedding is frozen and resized bicubically, without antialiasing, to every image's
    token grid. The classification head is never used: it is kept because published checkpoints hold it.
    """

    def __init__(self, name: str, changes: Mapping[str, int], pretrained: bool = False):
        """Build the timm model `name` with the constructor arguments `changes`.

        Raises UserError if timm does not know it, if we do not compute its tokens as timm does, or if its
        pretrained weights can't be had.
        """
        super().__init__()
        try:
            vit = timm.create_model(name, pretrained=pretrained, **changes)
        except Exception as error:  # timm and the hub raise many kinds
            what = "cannot get the pretrained weights of" if pretrained else "cannot build"
            hint = "; `unia weights` makes a file of them where there is a network" if pretrained else ""
            reason = " ".join(str(error).split())
            raise UserError(f"model.backbone: {what} {name!r}: {reason}{hint}") from None
        if not isinstance(vit, VisionTransformer) or not _computed_as_timm_does(
            name, vit.patch_embed.patch_size, tuple(changes.items())
        ):
            raise UserError(f"model.backbone: {name!r} is no plain vision transformer of timm")
        self.name = name
        self.vit = vit
        self.width: int = vit.embed_dim
        self.patch: int = vit.patch_embed.patch_size[0]
        self.heads: int = vit.blocks[-1].attn.num_heads
        vit.pos_embed.requires_grad_(False)
        vit.head.requires_grad_(False)

    def forward(self, images: Tensor, attention: bool) -> Tokens:
        """Tokens of normalised `images` (B 3 H W); the attention logits only if asked for.

        Without them every block runs on fused attention.
        """
        return _tokens(self.vit, images, attention)


@cache
def _computed_as_timm_does(name: str, patch: tuple[int, int], changes: tuple[tuple[str, int], ...]) -> bool:
    """Whether our tokens of a tiny ViT of this architecture are timm's own, all its parameters drawn.

    In double precision on the CPU; torch's random numbers go on as if nothing had been drawn.
    """
    images = torch.empty(1, 3, 3 * patch[0], 3 * patch[1], dtype=torch.float64, device="cpu")
    tiny = {"img_size": tuple(images.shape[2:]), "embed_dim": 24, "depth": 3, "num_heads": 2}
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.no_grad():
        torch.manual_seed(0)
        try:
            vit = timm.create_model(name, **dict(changes) | tiny).to(torch.float64).eval()
            for values in (images, *vit.parameters()):
                values.normal_(std=0.3)
            final, (auxiliary,) = vit.forward_intermediates(images, indices=[0], output_fmt="NLC")
            final = final[:, vit.num_prefix_tokens :]
            own = [_tokens(vit, images, attention) for attention in (False, True)]
        except Exception:  # of parts that such a ViT lacks, or of shapes
            return False
    return all(
        torch.allclose(ours, theirs, rtol=1e-6, atol=1e-6)
        for tokens in own
        for ours, theirs in ((tokens.final, final), (tokens.auxiliary, auxiliary))
    )


def _tokens(vit: VisionTransformer, images: Tensor, attention: bool) -> Tokens:
    x, grid = _embed(vit, images)
    prefix = x.shape[1] - grid[0] * grid[1]
    logits = []
    auxiliary = x
    last = len(vit.blocks) - 1
    for index, block in enumerate(vit.blocks):
        if attention and index >= last - 1:
            x, qk = _block_with_logits(block, x, prefix)
            logits.append(qk)
        else:
            x = block(x)
        if index == last - 2:
            auxiliary = x[:, prefix:]
    final = vit.norm(x)[:, prefix:]
    return Tokens(final, auxiliary, torch.cat(logits, dim=1) if logits else None, grid)


def _embed(vit: VisionTransformer, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    patches = vit.patch_embed.proj(images)
    grid = (patches.shape[-2], patches.shape[-1])
    x = vit.patch_embed.norm(patches.flatten(2).transpose(1, 2))
    own = 0 if vit.no_embed_class else vit.num_prefix_tokens  # prefix tokens with a position
    x = x + _positions(vit.pos_embed[:, own:], grid).to(x.dtype)
    tokens = [token for token in (vit.cls_token, getattr(vit, "reg_token", None)) if token is not None]
    if tokens:
        first = torch.cat(tokens, dim=1)
        first = first + vit.pos_embed[:, :own] if own else first
        x = torch.cat([first.expand(len(x), -1, -1).to(x.dtype), x], dim=1)
    return vit.norm_pre(x), grid


def _positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    side = round(positions.shape[1] ** 0.5)
    if (side, side) == grid:
        return positions
    square = positions.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = resize_by_matrix(square, grid, "cubic")
    return resized.flatten(2).transpose(1, 2)


def _block_with_logits(block: Any, x: Tensor, prefix: int) -> tuple[Tensor, Tensor]:
    """A transformer block's output, and its scaled q.k logits between patches, B H N N."""
    attn = block.attn
    batch, length, _ = x.shape
    qkv = attn.qkv(block.norm1(x)).reshape(batch, length, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    q, k = attn.q_norm(q), attn.k_norm(k)
    logits = (q[:, :, prefix:] * attn.scale) @ k[:, :, prefix:].transpose(-2, -1)
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, -1)
    mixed = attn.proj(attn.norm(mixed) if hasattr(attn, "norm") else mixed)
    x = x + block.drop_path1(block.ls1(mixed))
    return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x)))), logits
