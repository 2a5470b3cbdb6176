"""The colours that PAR sees: a normalised crop back in the 256 levels of 8 bits, as in the reference."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import normalize

from unia.data.normalise import MEAN, STD, denormalise, levels, normalise

REAL = Path(__file__).parents[3] / "shared" / "data" / "voc" / "devkit"
EVERY = torch.arange(256, dtype=torch.float32).div(255).expand(3, 1, 256)


def references(images: Tensor) -> Tensor:
    """The reference's expression, trunc(x * 255 std + 255 mean), in numpy's float32."""
    channels = [
        np.trunc(x * np.float32(255 * std) + np.float32(255 * mean))
        for x, mean, std in zip(images.numpy(), MEAN, STD, strict=True)
    ]
    return torch.from_numpy(np.stack(channels))


def test_normalisation_is_torchvisions_to_the_last_bit() -> None:
    assert torch.equal(normalise(EVERY), normalize(EVERY, list(MEAN), list(STD)))


def test_every_level_comes_back_as_in_the_reference() -> None:
    normalised = normalise(EVERY)
    ours = levels(normalised[None])[0]
    assert torch.equal(ours, references(normalised))
    assert (ours - EVERY * 255).abs().max() <= 1
    other_order = (denormalise(normalised) * 255).trunc()
    assert not torch.equal(other_order, ours)  # equal on paper


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real VOC images in ../shared/data/voc/devkit")
def test_levels_of_real_crops() -> None:
    """Crops are resampled, so that their colours lie anywhere between two levels, or on one."""
    differ = before = pixels = 0
    for path in sorted(REAL.rglob("*.jpg"))[::20]:
        with Image.open(path) as image:
            crop = np.array(image.convert("RGB").resize((448, 448), Image.Resampling.BICUBIC))
        normalised = normalise(torch.from_numpy(crop).permute(2, 0, 1).float().div(255))
        expected = references(normalised)
        differ += int((levels(normalised[None])[0] != expected).sum())
        before += int(((denormalise(normalised) * 255).trunc() != expected).sum())
        pixels += expected.numel()
    print(f"of {pixels} levels differ from the reference's: {before} in the other order, {differ} in ours")
    assert pixels > 10**7
    assert differ == 0
    assert before > 0
