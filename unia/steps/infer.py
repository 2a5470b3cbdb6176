"""`unia infer`: every kind of prediction for a split, as label maps, and logits for the CRF.

Kinds: cam, cam_aux, affinity and mutual need the image-level labels; seg (one scale) and seg_ms do not.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unia.data.normalise import normalise, to_tensor
from unia.data.samples import Split, load_split, read_image, write_label
from unia.errors import UserError
from unia.files import atomic, resumed, sha256
from unia.identity import digest, of_code, of_parameters, of_split
from unia.model.cam import multi_scale_cams
from unia.model.checkpoint import load, read_header
from unia.model.network import UniA
from unia.model.segment import resized, scale_maps
from unia.progress import say, track
from unia.recipe import Infer, PseudoLabel
from unia.refine.affinity import affinity_label
from unia.refine.logits import logits_at
from unia.refine.pseudo_label import cam_label_background, mutual
from unia.refine.resize import resize
from unia.steps.parallel import cores
from unia.steps.part import WHOLE, Part

WAITING = 64  # predictions that wait to be written
CODE = ("data", "model", "refine", "steps/infer.py")  # decides what is predicted

Item = tuple[str, Tensor, Tensor | None]
"""Name, normalised image 3 H W, image-level labels C or None."""


@dataclass(frozen=True)
class Prediction:
    """What is stored of one image: label maps H W by kind, and its segmentation logits at each scale."""

    name: str
    labels: Mapping[str, NDArray[np.uint8]]
    logits: tuple[NDArray[np.float16], ...]  # C+1 h w, one for each scale


def infer(
    pseudo_label: PseudoLabel,
    config: Infer,
    data: Path,
    split: str,
    checkpoint: Path,
    out: Path,
    part: Part = WHOLE,
) -> None:
    """Predict the split of the prepared folder `data` and write the folder `out`.

    `out/<kind>/<name>.png`, and `out/logits/<name>.npz`: float16, C+1 h w for each scale, as small as the
    network gives them (`unia.refine.logits` makes the image's of them). What an interrupted run of the same
    settings, checkpoint, data and code had finished, or its parts, is kept. Raises UserError where the
    checkpoint was trained on other classes.
    """
    samples = load_split(data, split)
    trained_on = read_header(checkpoint).classes
    if trained_on != samples.classes:
        raise UserError(
            f"{checkpoint}: was trained on {len(trained_on)} classes ({', '.join(trained_on[:3])}, ...), "
            f"{data} has {len(samples.classes)} ({', '.join(samples.classes[:3])}, ...)"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load(checkpoint).to(device).to(memory_format=torch.channels_last)
    settings = of_parameters({"pseudo_label": pseudo_label.model_dump(), "infer": config.model_dump()})
    made_of = digest(settings, sha256(checkpoint), of_split(data, split), of_code(*CODE))
    share = part.share(batches_of(len(samples.samples), config.batch))
    with resumed(out, made_of, part.whole) as folder, ThreadPoolExecutor(cores()) as pool:
        batches = unfinished(share, samples, folder)
        left, total = sum(map(len, batches)), sum(map(len, share))
        if left < total:
            say(f"infer {split}: goes on after {total - left} images")
        images = DataLoader(
            Images(samples),
            batch_sampler=batches,
            num_workers=min(8, cores()) if device.type == "cuda" else 0,
            collate_fn=list,
        )
        writes: deque[Future[None]] = deque()
        progress = track(range(left), f"infer {split}")
        for batch in images:
            for prediction in predict(model, batch, samples.tile, pseudo_label, config, device):
                next(progress)
                writes.append(pool.submit(_write, folder, prediction))
                if len(writes) > WAITING:  # memory stays the same however many images there are
                    writes.popleft().result()
        next(progress, None)
        for write in writes:
            write.result()


def batches_of(count: int, size: int) -> list[list[int]]:
    """The numbers below `count` in batches of `size`.

    Each is computed whole, by one process: what is computed together may decide the last digits.
    """
    places = range(count)
    return [list(places[first : first + size]) for first in places[::size]]


def unfinished(batches: Sequence[list[int]], samples: Split, folder: Path) -> list[list[int]]:
    """The batches of which an image is not finished in `folder`."""
    done = [_logits(folder, sample.name).exists() for sample in samples.samples]
    return [batch for batch in batches if not all(done[i] for i in batch)]


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


class Images(Dataset[Item]):
    """The items of a split."""

    def __init__(self, split: Split):
        self.split = split

    def __len__(self) -> int:
        return len(self.split.samples)

    def __getitem__(self, index: int) -> Item:
        sample = self.split.samples[index]
        labels = None
        if sample.labels is not None:
            labels = torch.zeros(len(self.split.classes))
            labels[[c - 1 for c in sample.labels]] = 1
        return sample.name, normalise(to_tensor(read_image(sample.image))), labels


def predict(
    model: UniA,
    batch: list[Item],
    tile: int | None,
    pseudo_label: PseudoLabel,
    config: Infer,
    device: torch.device,
) -> Iterator[Prediction]:
    """All kinds of prediction for a batch of images of any sizes; `tile`: see `base_size`."""

    def seen_at(item: Item) -> tuple[int, int]:
        return base_size(item[1], config.crop, tile, model.backbone.patch)

    for base, alike in groupby(batch, seen_at):
        yield from _predict(model, list(alike), base, pseudo_label, config, device)


@torch.inference_mode()
def _predict(
    model: UniA,
    batch: list[Item],
    base: tuple[int, int],
    pseudo_label: PseudoLabel,
    config: Infer,
    device: torch.device,
) -> list[Prediction]:
    """The predictions for images that the network sees at one size, `base`: (height, width)."""
    images = [image.to(device) for _, image, _ in batch]
    found: list[dict[str, Tensor]] = [{} for _ in batch]
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        seen = resized(images, base)
        output = model(seen)
        known = (output.features, output.features_aux)
        cams, cams_aux = multi_scale_cams(model, seen, pseudo_label.cam_scales, known)
        maps = scale_maps(model, images, base, config.scales)
    grid = (output.features.shape[-2], output.features.shape[-1])
    background, radius = pseudo_label.background, pseudo_label.radius
    beside = pseudo_label.affinity_background
    predictions = []
    for i, (name, image, labels) in enumerate(batch):
        size = (image.shape[-2], image.shape[-1])
        if labels is not None:
            present = labels[None].to(device)
            cam, cam_aux = resize(cams[i : i + 1], size), resize(cams_aux[i : i + 1], size)
            affinity = output.affinity[i : i + 1].float()
            found[i]["cam"] = cam_label_background(cam, present, background)
            found[i]["cam_aux"] = cam_label_background(cam_aux, present, background)
            found[i]["affinity"] = affinity_label(cam, present, affinity, grid, beside, radius)
            found[i]["mutual"] = mutual(found[i]["cam"], found[i]["cam"], found[i]["affinity"], late=True)
        found[i]["seg"] = resize(output.seg_logits[i : i + 1].float(), size).max(1).indices
        scales = [scale[i] for scale in maps]
        found[i]["seg_ms"] = logits_at(scales, size)[None].max(1).indices
        labels_of = {kind: label[0].to(torch.uint8).cpu().numpy() for kind, label in found[i].items()}
        logits = tuple(scale.half().cpu().numpy() for scale in scales)
        predictions.append(Prediction(name, labels_of, logits))
    return predictions


def _logits(folder: Path, name: str) -> Path:
    return folder / "logits" / f"{name}.npz"


def _write(folder: Path, prediction: Prediction) -> None:
    """The logits last: where they are, the image is finished."""
    for kind, label in prediction.labels.items():
        with atomic(folder / kind / f"{prediction.name}.png") as temporary:
            write_label(temporary, label)
    with atomic(_logits(folder, prediction.name)) as temporary, temporary.open("wb") as file:
        np.savez(file, *prediction.logits)
