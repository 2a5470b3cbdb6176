"""Dense CRF on stored probabilities (Krähenbühl and Koltun, NeurIPS 2011), on the CPU.

Only classes that are likely somewhere in an image are stored; the others could not win a pixel.
"""

from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from unia.data.samples import Sample, load_split, read_image, write_label
from unia.errors import UserError
from unia.files import atomic
from unia.recipe import Crf
from unia.steps.parallel import for_each


def crf(config: Crf, data: Path, split: str, predictions: Path, out: Path) -> None:
    """Write `out`/<name>.png for every image of a split of `data`, from `predictions`/probabilities.

    Raises UserError, naming the file, where probabilities are missing or are not the image's.
    """
    samples = load_split(data, split).samples
    with atomic(out) as folder:
        folder.mkdir()
        work = partial(_refine_sample, config, predictions / "probabilities", folder)
        for _ in for_each(work, samples, f"CRF, {split}"):
            pass


def refine(
    config: Crf,
    image: NDArray[np.uint8],
    classes: NDArray[np.uint8],
    probability: NDArray[np.floating],
) -> NDArray[np.uint8]:
    """The label map, H x W class ids, that the CRF finds.

    `image` is H x W x 3 RGB, `classes` the K class ids of `probability`, K x H x W in [0, 1].
    """
    if len(classes) == 1:
        return np.full(image.shape[:2], classes[0], dtype=np.uint8)
    # Imported in the worker, where OpenMP has been told to use one thread.
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_softmax

    height, width = image.shape[:2]
    field = DenseCRF2D(width, height, len(classes))
    field.setUnaryEnergy(unary_from_softmax(probability.astype(np.float32)))
    field.addPairwiseGaussian(sxy=config.gaussian_sxy, compat=config.gaussian_compat)
    field.addPairwiseBilateral(
        sxy=config.bilateral_sxy,
        srgb=config.bilateral_srgb,
        rgbim=np.array(image, order="C"),  # it takes no read-only array
        compat=config.bilateral_compat,
    )
    found = np.asarray(field.inference(config.iterations)).reshape(len(classes), height, width)
    label: NDArray[np.uint8] = classes[found.argmax(axis=0)]
    return label


def _refine_sample(config: Crf, probabilities: Path, out: Path, sample: Sample) -> None:
    image = read_image(sample.image)
    path = probabilities / f"{sample.name}.npz"
    try:
        with np.load(path) as stored:
            classes, probability = stored["classes"], stored["probability"]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run infer for this split again") from None
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise UserError(f"{path}: no readable probabilities ({error}); run infer again") from None
    if probability.shape != (len(classes), *image.shape[:2]):
        raise UserError(
            f"{path}: holds {probability.shape} probabilities of {len(classes)} classes, "
            f"the image is {image.shape[0]} x {image.shape[1]}; run infer again"
        )
    write_label(out / f"{sample.name}.png", refine(config, image, classes, probability))
