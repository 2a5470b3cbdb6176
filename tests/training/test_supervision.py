"""Training on the masks, `train.supervision: masks`: the fully supervised twin of a run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_objective import CPU, batch, network, plan, recipe
from test_stream import config
from tiny import prepared, run

from unia.data.normalise import denormalise
from unia.data.samples import Sample, Split, load_split, write_label
from unia.data.stream import SampleStream
from unia.errors import UserError
from unia.losses import table
from unia.losses.segmentation import segmentation
from unia.training.objective import Objective


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """An image that is red where its mask holds class 2; one corner of the mask is 255."""
    label = np.zeros((40, 56), np.uint8)
    label[10:30, 20:50] = 2
    image = np.zeros((40, 56, 3), np.uint8)
    image[..., 0] = 255 * (label == 2)
    label[:5, :5] = 255
    Image.fromarray(image).save(tmp_path / "image.png")
    write_label(tmp_path / "mask.png", label)
    sample = Sample("one", tmp_path / "image.png", tmp_path / "mask.png", (2,))
    return Split("tiny", "train", ("a", "b", "c"), {}, (sample,))


def test_masks_are_cropped_and_mirrored_with_their_images(split: Split) -> None:
    """Wherever the crop is certainly red, or certainly not, its mask says the same."""
    plain = config(jitter_probability=0.0)
    alone, both = SampleStream(split, plain), SampleStream(split, config(supervision="masks"))
    both.augment = alone.augment
    ids: set[int] = set()
    for position in range(50):
        image, label, mask = both[position]
        assert torch.equal(image, alone[position][0])  # masks draw nothing
        assert label.tolist() == [0, 1, 0]
        assert (mask.shape, mask.dtype) == ((32, 32), torch.int64)
        red = denormalise(image[None])[0, 0]
        known = ((red > 0.99) | (red < 0.01)) & (mask != 255)
        agree = (mask == 2)[known] == (red > 0.5)[known]
        assert agree.float().mean() > 0.98  # the image is resized smoothly, the mask to the nearest pixel
        ids |= set(mask.flatten().tolist())
    assert ids == {0, 2, 255}


def test_masks_take_the_place_of_pseudo_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = recipe()
    objective = Objective(network(chosen), chosen, CPU)
    images, labels = batch()
    masks = torch.randint(4, (2, 32, 32), generator=torch.Generator().manual_seed(5))
    masks[:, :8] = 255
    seen = []

    def kept(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        seen.append(label)
        return segmentation(logits, label)

    monkeypatch.setattr(table, "segmentation", kept)
    for given in (None, masks):
        objective(images, labels, 2, plan("segmentation"), masks=given)
    assert not torch.equal(seen[0], masks)
    assert torch.equal(seen[1], masks)


def test_training_on_masks_learns_another_decoder(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    taught = [
        run(data, tmp_path / how, f"small.train.supervision={how}", "small.train.iterations=6")
        for how in ("labels", "masks")
    ]
    curves = [one["losses.csv"].decode().splitlines() for one in taught]
    column = curves[0][0].split(",").index("segmentation")
    assert curves[0][1] == curves[1][1]  # before the segmentation counts
    assert curves[0][-1].split(",")[column] != curves[1][-1].split(",")[column]


def test_every_training_image_needs_a_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = prepared(tmp_path)
    whole = load_split(data, "train")
    spoilt = replace(whole, samples=(replace(whole.samples[0], mask=None), *whole.samples[1:]))
    monkeypatch.setattr("unia.steps.train.load_split", lambda *_: spoilt)
    with pytest.raises(UserError, match=r"train.supervision: masks, but 1 images of .*data's split train"):
        run(data, tmp_path / "train", "small.train.supervision=masks")
