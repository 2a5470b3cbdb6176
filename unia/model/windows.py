"""Whole images through a network that was trained on tiles: window by window, each as large as a tile was.

A ViT sees all of its input at once. One that learned on tiles and is shown a whole image in one pass finds
far less (docs/results.md), so that each window is a pass of its own, and where windows overlap their maps are
averaged.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from unia.model.network import Output, UniA

AT_ONCE = 64  # windows in a pass

Place = tuple[slice, slice]
"""Rows and columns of the token grid."""


class Windows:
    """Computes what `UniA` does, of images that are larger than what it was trained on."""

    def __init__(self, model: UniA, window: int, base: tuple[int, int]):
        """`window`: pixels of a window's side where an image has the size `base`, (height, width)."""
        self.model = model
        self.window = window
        self.base = base

    def __call__(self, images: Tensor) -> Output:
        """As UniA's pass, without `mean`; an image's class logits are the largest of its windows."""
        found = [(place, Output(*parts)) for place, parts in self._windows(images, self.model)]
        grid = self._grid(images)

        def averaged(name: str) -> Tensor:
            return _averaged([(place, getattr(output, name)) for place, output in found], grid)

        return Output(
            cls_logits=torch.stack([output.cls_logits for _, output in found]).amax(0),
            cls_aux_logits=torch.stack([output.cls_aux_logits for _, output in found]).amax(0),
            seg_logits=averaged("seg_logits"),
            features=averaged("features"),
            features_aux=averaged("features_aux"),
            affinity=_affinity([(place, output.affinity) for place, output in found], grid),
            mean=None,
            log_variance=_tokens_averaged([(place, output.log_variance) for place, output in found], grid),
        )

    def feature_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(X, auxiliary features), both B D h w."""
        found = list(self._windows(images, self.model.feature_maps))
        grid = self._grid(images)
        features = _averaged([(place, maps[0]) for place, maps in found], grid)
        return features, _averaged([(place, maps[1]) for place, maps in found], grid)

    def segment(self, images: Tensor) -> Tensor:
        """Segmentation logits B C+1 h w."""
        found = self._windows(images, lambda windows: (self.model.segment(windows),))
        return _averaged([(place, logits) for place, (logits,) in found], self._grid(images))

    def cams(self, features: Tensor, features_aux: Tensor) -> tuple[Tensor, Tensor]:
        """As UniA's: the classifiers are linear, so that the CAMs of averaged features are averaged CAMs."""
        return self.model.cams(features, features_aux)

    def log_variance(self, images: Tensor) -> Tensor | None:
        """B N D of the uncertainty inference alone; None without it."""
        found = self._windows(images, lambda windows: (self.model.log_variance(windows),))
        return _tokens_averaged([(place, part) for place, (part,) in found], self._grid(images))

    def _grid(self, images: Tensor) -> tuple[int, int]:
        patch = self.model.backbone.patch
        return images.shape[-2] // patch, images.shape[-1] // patch

    def _windows(
        self, images: Tensor, run: Callable[[Tensor], Sequence[Tensor | None]]
    ) -> Iterator[tuple[Place, list[Any]]]:
        """(place, what `run` computes of that window of each image), half a window apart."""
        patch = self.model.backbone.patch
        grid = self._grid(images)
        side = round(self.window * images.shape[-2] / self.base[0] / patch)  # images may be scaled
        places = [(rows, columns) for rows in _along(grid[0], side) for columns in _along(grid[1], side)]
        step = max(1, AT_ONCE // len(images))
        for start in range(0, len(places), step):
            some = places[start : start + step]
            found = run(torch.cat([images[(..., *_pixels(place, patch))] for place in some]))
            parts = [[None] * len(some) if one is None else one.chunk(len(some)) for one in found]
            yield from ((place, list(of_it)) for place, *of_it in zip(some, *parts, strict=True))


Network = UniA | Windows


def base_size(image: Tensor, crop: int, tile: int | None, patch: int) -> tuple[int, int]:
    """(height, width) that the network sees `image`, 3 H W, at: a square of side `crop`.

    Where training saw tiles, a tile's area becomes that square, and the image keeps its shape: what it
    shows is as large as in training. The size is then a multiple of 4 patches, so that scales in quarters
    fit the patches too.
    """
    if tile is None:
        return crop, crop
    height, width = (4 * patch * max(1, round(side * crop / tile / (4 * patch))) for side in image.shape[-2:])
    return height, width


def as_trained(model: UniA, base: tuple[int, int], crop: int, tile: int | None) -> Network:
    """What computes images of the size `base`; where it learned on tiles, these became `crop` pixels wide."""
    return model if tile is None else Windows(model, crop, base)


def exact_log_variance(network: Network, images: Tensor, output: Output) -> Tensor | None:
    """The log-variance of `output`, which is of a pass over `images`; a pass in bfloat16 is made again.

    u differs by 1e-5 within an image, which bfloat16's rounding hides. To be called outside autocast.
    """
    if output.log_variance is None or output.log_variance.dtype != torch.bfloat16:
        return output.log_variance
    return network.log_variance(images)


def _along(length: int, side: int) -> list[slice]:
    """Windows along one axis, half a side apart; the last ends with the axis."""
    last = max(0, length - side)
    starts = [*range(0, last, max(1, side // 2)), last]
    return [slice(start, min(start + side, length)) for start in starts]


def _pixels(place: Place, patch: int) -> Place:
    rows, columns = (slice(part.start * patch, part.stop * patch) for part in place)
    return rows, columns


def _averaged(maps: Sequence[tuple[Place, Tensor]], grid: tuple[int, int]) -> Tensor:
    """B D h w from the maps of windows."""
    first = maps[0][1]
    total = torch.zeros((*first.shape[:2], *grid), dtype=_sum_type(first), device=first.device)
    count = torch.zeros(grid, dtype=total.dtype, device=first.device)
    for place, part in maps:
        total[(..., *place)] += part
        count[place] += 1
    return (total / count).to(first.dtype)


def _tokens_averaged(parts: Sequence[tuple[Place, Tensor | None]], grid: tuple[int, int]) -> Tensor | None:
    """B N D from the tokens of windows; None where they have none."""
    maps = [
        (place, tokens.mT.unflatten(2, (place[0].stop - place[0].start, -1)))
        for place, tokens in parts
        if tokens is not None
    ]
    return _averaged(maps, grid).flatten(2).mT if maps else None


def _affinity(parts: Sequence[tuple[Place, Tensor]], grid: tuple[int, int]) -> Tensor:
    """B N N from the affinity of windows; 0 between tokens that no window holds both of."""
    first = parts[0][1]
    tokens = torch.arange(grid[0] * grid[1], device=first.device).unflatten(0, grid)
    total = torch.zeros(
        (len(first), tokens.numel(), tokens.numel()), dtype=_sum_type(first), device=first.device
    )
    count = torch.zeros(total.shape[1:], dtype=total.dtype, device=first.device)
    for place, part in parts:
        held = tokens[place].flatten()
        total[:, held[:, None], held] += part
        count[held[:, None], held] += 1
    return (total / count.clamp(min=1)).to(first.dtype)


def _sum_type(part: Tensor) -> torch.dtype:
    return torch.float64 if part.dtype == torch.float64 else torch.float32
