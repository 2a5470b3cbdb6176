"""`unia predict`: any images, segmented by a checkpoint; no dataset is needed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from struct import error as StructError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from unia.data.normalise import normalise, to_tensor
from unia.data.samples import DEEP, distinct_names, image_endings, open_image, voc_palette, write_label
from unia.errors import UserError
from unia.files import names, sha256
from unia.model.checkpoint import Header, load, read_header
from unia.model.network import UniA
from unia.model.precision import passes
from unia.model.segment import logits_at, resized, scale_maps
from unia.model.uncertainty import uncertainty
from unia.model.windows import as_trained, base_size, exact_log_variance
from unia.progress import say, track
from unia.recipe import MOST, Infer, Precision
from unia.resize import resize
from unia.steps.predict_folder import Replaced, replaced
from unia.system import told

PIXELS = 2**20  # labels of a larger image are decided at this size, far finer than the tokens, and enlarged
FOLDERS = ("masks", "overlays", "uncertainty")
TABLE = "predictions.json"
SHINE = 0.5  # of an overlay's colour

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Segmented:
    """Class ids and uncertainty of each pixel, both H W; None for a network without uncertainty inference."""

    label: Pixels
    uncertainty: NDArray[np.float32] | None


def predict(
    paths: Sequence[Path], checkpoint: Path, scales: Sequence[float], precision: Precision, out: Path
) -> None:
    """Segment images, and all images below folders, into `out`, at `scales` of the size of training.

    `out`/masks, overlays and uncertainty hold a PNG for each image, `out`/predictions.json classes and areas.
    Uncertainty goes from black to white, from the image's least to its largest value, which the JSON
    holds. All are upright: a photo's EXIF orientation is applied. What earlier runs have made in `out` goes.

    Raises UserError at the end, when all others are done, where some can't be read; at once where there is
    no image at all, and where something in these folders of `out` is not as a run of this has left it.
    """
    made = replaced(out, FOLDERS, TABLE)
    header = read_header(checkpoint)
    config = _config(header, scales, precision)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load(checkpoint).to(device)
    pairs = list(_images(paths, out))
    found = dict(zip(distinct_names([short for _, short in pairs]), (path for path, _ in pairs), strict=True))
    unread = []
    if not found:
        raise UserError(f"{', '.join(map(str, paths))}: holds no image")
    made.begin()
    entries = []
    for name, path in track(found.items(), "predict", len(found)):
        try:
            image = read(path)
        except (UserError, OSError) as error:
            say(f"unia: {told(error) or error}")
            unread.append(path)
            continue
        segmented = segment(model, image, config, header.tile)
        _write(made, name, image, segmented)
        entries.append(_entry(path, name, segmented, header.classes))
    about = {
        "checkpoint": {"path": str(checkpoint), "sha256": sha256(checkpoint)},
        "infer": {"crop": header.crop, "tile": header.tile, "scales": list(scales), "precision": precision},
        "classes": list(header.classes),
        "images": entries,
        "not_read": [str(path) for path in unread],
    }
    made.end(about)
    if unread:
        raise UserError(
            f"{len(unread)} of {len(found)} images could not be read, the others are in {out}: "
            f"{', '.join(map(str, unread))}"
        )


def _config(header: Header, scales: Sequence[float], precision: Precision) -> Infer:
    """How the network sees an image: as it learned. UserError for a scale that does not suit its patches."""
    patch = header.model.patch or 1
    for scale in scales:
        side = header.crop * scale
        if not patch <= side <= MOST or int(side) % patch:
            raise UserError(
                f"--scale {scale:g}: {header.crop} pixels, at which the network was trained, become "
                f"{side:g}, no multiple of its patches of {patch}; give --scale for each one that suits"
            )
    return Infer(size=header.crop, scales=tuple(scales), batch=1, precision=precision)


def read(path: Path) -> Pixels:
    """An image of any mode as H W 3 RGB, upright; grey values of more than 8 bits go from least to largest.

    Raises UserError for what is no image, and for colours of more than 8 bits.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    image = _upright(path, open_image(path))
    if not image.mode.startswith(DEEP):
        return np.asarray(image.convert("RGB"))
    deep = np.asarray(image, dtype=np.float64)
    known = np.isfinite(deep)
    if not known.any():
        raise UserError(f"{path}: no pixel is a finite number")
    if not known.all():
        say(
            f"{path}: {np.count_nonzero(~known)} pixels are NaN or infinite, and are taken as its least value"
        )
    stretched = _stretched(np.where(known, deep, deep[known].min()))
    return np.repeat(stretched[..., None], 3, axis=2)


def _upright(path: Path, image: Image.Image) -> Image.Image:
    """As its EXIF orientation says."""
    try:
        return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError, TypeError, StructError) as error:
        raise UserError(f"{path}: its EXIF data cannot be read ({error}); save it again without") from None


@torch.inference_mode()
def segment(model: UniA, image: Pixels, config: Infer, tile: int | None) -> Segmented:
    """The multi-scale segmentation of an image H W 3, as `unia infer` makes it (seg_ms)."""
    device = next(model.parameters()).device
    pixels = normalise(to_tensor(image)).to(device)
    base = base_size(pixels, config.size, tile, model.backbone.patch)
    network = as_trained(model, base, config.size, tile)
    with passes(device, config.precision):
        maps = [scale[0] for scale in scale_maps(network, [pixels], base, config.scales)]
        seen = resized([pixels], base)
        output = network(seen)
    log_variance = exact_log_variance(network, seen, output)
    size = (image.shape[0], image.shape[1])
    shrink = max(1.0, sqrt(size[0] * size[1] / PIXELS))
    decided = (max(1, round(size[0] / shrink)), max(1, round(size[1] / shrink)))
    label = logits_at(maps, decided).argmax(0)
    if decided != size:
        label = torch.nn.functional.interpolate(label[None, None].float(), size, mode="nearest-exact")[0, 0]
    grid = (output.features.shape[-2], output.features.shape[-1])
    unsure = None
    if log_variance is not None:
        unsure = resize(uncertainty(log_variance[0], grid)[None, None], size)[0, 0].cpu().numpy()
    return Segmented(label.to(torch.uint8).cpu().numpy(), unsure)


def _images(paths: Sequence[Path], out: Path) -> Iterator[tuple[Path, Path]]:
    """(file, the path that names it): files as given; of folders all images by their endings, but `out`'s.

    What else lies in a folder is counted and told. UserError for a file that this run would replace.
    """
    endings = image_endings()
    results = [(out / folder).resolve() for folder in FOLDERS]
    for path in paths:
        if not path.is_dir():
            if any(map(path.resolve().is_relative_to, results)):
                raise UserError(f"{path}: lies where this run would write its results; name another --out")
            yield path, Path(path.name)
            continue
        others = []
        for name in map(Path, names(path)):
            if (path / name).resolve().is_relative_to(out.resolve()):
                continue
            if name.suffix.lower() in endings:
                yield path / name, name
            else:
                others.append(name.suffix.lower() or "no ending")
        if others:
            kinds = ", ".join(sorted(set(others)))
            say(
                f"{path}: passes over {len(others)} of its files, which are no images that it reads ({kinds})"
            )


def _entry(path: Path, name: str, segmented: Segmented, classes: Sequence[str]) -> Mapping[str, Any]:
    label, unsure = segmented.label, segmented.uncertainty
    span = None if unsure is None else {"least": float(unsure.min()), "largest": float(unsure.max())}
    pixels = np.bincount(label.ravel(), minlength=len(classes) + 1)
    return {
        "image": str(path),
        "name": name,
        "height": label.shape[0],
        "width": label.shape[1],
        "classes": [
            {"class": classes[k - 1], "id": k, "pixels": int(pixels[k]), "share": pixels[k] / label.size}
            for k in map(int, np.flatnonzero(pixels))
            if k > 0
        ],
        "uncertainty": span,
    }


def _write(made: Replaced, name: str, image: Pixels, segmented: Segmented) -> None:
    label, unsure = segmented.label, segmented.uncertainty
    masks, overlays, uncertainties = (f"{folder}/{name}.png" for folder in FOLDERS)
    made.write(masks, lambda path: write_label(path, label))
    made.write(overlays, lambda path: Image.fromarray(overlay(image, label)).save(path, format="PNG"))
    if unsure is not None:
        made.write(uncertainties, lambda path: Image.fromarray(_stretched(unsure)).save(path, format="PNG"))


def overlay(image: Pixels, label: Pixels) -> Pixels:
    """The image H W 3, with the colours of its classes over all but the background."""
    colours = np.frombuffer(voc_palette(), np.uint8).reshape(256, 3)[label]
    mixed = (1 - SHINE) * image + SHINE * colours
    return np.where(label[..., None] > 0, mixed.round(), image).astype(np.uint8)


def _stretched(values: NDArray[np.floating]) -> Pixels:
    """From the least value, 0, to the largest, 255; 0 where all are equal."""
    least = values.min()
    span = values.max() - least
    scaled: Pixels = (255 * (values - least) / (span or 1)).round().astype(np.uint8)
    return scaled
