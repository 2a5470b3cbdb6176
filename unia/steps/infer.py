"""`unia infer`: every kind of prediction for a split, as label maps, and logits for the CRF."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from unia.data.normalise import normalise, to_tensor
from unia.data.samples import Split, load_split, read_image, write_label
from unia.errors import UserError
from unia.files import atomic, resumed, sha256, write_json
from unia.identity import digest, of_code, of_parameters, of_split
from unia.model.checkpoint import load, read_header
from unia.parallel import cores
from unia.progress import say, track
from unia.recipe import Infer, PseudoLabel
from unia.steps.part import WHOLE, Part
from unia.steps.predictions import Item, Prediction, made_with, predict

WAITING = 64  # predictions that wait to be written
CODE = (
    *("data", "labels.py", "model", "refine", "resize.py", "scoring/sweep.py"),
    *("steps/infer.py", "steps/predictions.py"),
)
"""Where the code is that decides what is predicted."""


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

    `out/<kind>/<name>.png`; `out/cam_class` and `out/cam_level` (`unia.refine.pseudo_label.cam_levels`);
    `out/logits/<name>.npz`: float16, C+1 h w for each scale, as small as the network gives them
    (`unia.model.segment.logits_at` makes the image's of them); `out/uncertainty/<name>.npy`: u of each token,
    float32; and `out/made_with.json`: what each kind is made with. What an interrupted run of the same
    settings, checkpoint, data and code had finished, or its parts, is kept. Raises UserError where the
    checkpoint was trained on other classes.
    """
    samples = load_split(data, split)
    header = read_header(checkpoint)
    trained_on = header.classes
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
        write_json(folder / "made_with.json", made_with(pseudo_label, config))
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
            for prediction in predict(model, batch, header.tile, pseudo_label, config, device):
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


def _logits(folder: Path, name: str) -> Path:
    return folder / "logits" / f"{name}.npz"


def _write(folder: Path, prediction: Prediction) -> None:
    """The logits last: where they are, the image is finished."""
    for kind, label in prediction.labels.items():
        with atomic(folder / kind / f"{prediction.name}.png") as temporary:
            write_label(temporary, label)
    if prediction.uncertainty is not None:
        with atomic(folder / "uncertainty" / f"{prediction.name}.npy") as temporary:
            temporary.write_bytes(_npy(prediction.uncertainty))
    with atomic(_logits(folder, prediction.name)) as temporary, temporary.open("wb") as file:
        np.savez(file, *prediction.logits)


def _npy(array: NDArray[np.float32]) -> bytes:
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()
