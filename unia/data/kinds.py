"""The kinds of dataset: where each one's raw data comes from, and what reads it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unia.data import acdc, coco, images, shapes, voc
from unia.data.samples import Dataset


class Kind(NamedTuple):
    """What `unia download` and `unia prepare` do for a kind of dataset.

    `origins(key, config, source, folder)`: the archives and folders that hold the raw data. They are those of
    `source`, the user's own, or else they are fetched or generated into `folder`; `key` is the key of
    params.yaml that an error names. `read(config, roots, folder, final)`: the splits below `roots`. What the
    reader makes itself is written to `folder`, and recorded as lying in `final`. `config` is the kind's
    section of `unia.recipe`.
    """

    origins: Callable[[str, Any, Path | None, Path], list[Path]]
    read: Callable[[Any, Sequence[Path], Path, Path], Dataset]


KINDS: Mapping[str, Kind] = {
    "shapes": Kind(shapes.origins, shapes.read),
    "voc": Kind(voc.origins, voc.read),
    "coco": Kind(coco.origins, coco.read),
    "acdc": Kind(acdc.origins, acdc.read),
    "images": Kind(images.origins, images.read),
}
