"""Dense CRF (Krähenbühl and Koltun, NeurIPS 2011) on the stored logits, on the CPU.

Its cost grows with the classes, and only a handful matter in an image: it runs on those that are likely
somewhere; the others could not win a pixel.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unia.data.samples import Sample, load_split, read_image, write_label
from unia.errors import UserError
from unia.files import atomic, resumed
from unia.identity import digest, of_code, of_files, of_parameters, of_split
from unia.model.segment import logits_at
from unia.parallel import for_each
from unia.progress import say
from unia.recipe import Crf
from unia.refine.dense_crf import mean_field
from unia.steps.part import WHOLE, Part
from unia.system import of_system

CODE = ("data", "model/segment.py", "refine", "resize.py", "steps/crf.py")  # decides what is found


def crf(config: Crf, data: Path, split: str, predictions: Path, out: Path, part: Part = WHOLE) -> None:
    """Write `out`/<name>.png for every image of a split of `data`, from `predictions`/logits.

    What an interrupted run of the same settings, data, logits and code had finished, or its parts, is kept.
    Raises UserError, naming the file, where logits are missing or are not the dataset's.
    """
    about, logits = load_split(data, split), predictions / "logits"
    settings = of_parameters(config.model_dump())
    made_of = digest(settings, of_split(data, split), of_files(logits), of_code(*CODE))
    samples = part.share(about.samples)
    with resumed(out, made_of, part.whole) as folder:
        left = [sample for sample in samples if not _label(folder, sample).exists()]
        if len(left) < len(samples):
            say(f"CRF, {split}: goes on after {len(samples) - len(left)} images")
        work = partial(_refine_sample, config, logits, len(about.classes) + 1, folder)
        for _ in for_each(work, left, f"CRF, {split}"):
            pass


def likely(maps: Sequence[Tensor], size: tuple[int, int], floor: float) -> Tensor:
    """The classes (K ids, ascending) whose probability exceeds `floor`, or wins, somewhere in H W = `size`.

    `maps`: the logits C+1 h w at each scale. They are far coarser than the image: it is enough to look at
    three times the places of the finest, among which are its own.
    """
    finest = max(maps, key=torch.numel).shape[1:]
    sparse = (min(size[0], 3 * finest[0]), min(size[1], 3 * finest[1]))
    probability = logits_at(maps, sparse).softmax(0)
    chosen = probability.amax((1, 2)) > floor
    chosen[probability.max(0).indices.unique()] = True
    return chosen.nonzero().flatten()


def _refine_sample(config: Crf, logits: Path, classes: int, out: Path, sample: Sample) -> None:
    image = read_image(sample.image)
    maps = read_logits(logits / f"{sample.name}.npz", classes)
    size = (image.shape[0], image.shape[1])
    ids = likely(maps, size, config.probability_floor)
    probability = logits_at([one[ids] for one in maps], size).softmax(0)
    label = ids.numpy().astype(np.uint8)[mean_field(config, image, probability.numpy())]
    with atomic(_label(out, sample)) as temporary:
        write_label(temporary, label)


def read_logits(path: Path, classes: int) -> list[Tensor]:
    """The stored logits of an image, `classes` (with the background) h w at each scale, float32.

    UserError, naming the file, where it is missing or holds something else.
    """
    try:
        with np.load(path) as stored:
            maps = [torch.from_numpy(stored[name]).float() for name in stored.files]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run infer for this split again") from None
    except Exception as error:  # numpy's and zipfile's readers of damaged files raise of every kind
        if of_system(error):
            raise
        raise UserError(f"{path}: no readable logits ({error}); run infer again") from None
    shapes = [tuple(one.shape) for one in maps]
    if not maps or any(len(shape) != 3 or shape[0] != classes or 0 in shape for shape in shapes):
        raise UserError(f"{path}: holds {shapes}, not maps of {classes} classes; run infer again")
    return maps


def _label(folder: Path, sample: Sample) -> Path:
    return folder / f"{sample.name}.png"
