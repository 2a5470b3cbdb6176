"""The bootstrap over images (Efron and Tibshirani, 1993, chapter 13): images drawn with replacement."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

CHUNK = 50  # draws at once: memory stays small on 40,000 images
SEED = 0


def weights(images: int, draws: int) -> Iterator[NDArray[np.int64]]:
    """CHUNK x images at a time, till there are `draws`: how often each draw holds each image."""
    rng = np.random.default_rng(SEED)
    for _ in range(0, draws, CHUNK):
        yield rng.multinomial(images, np.full(images, 1 / images), size=CHUNK)
