"""Disk and memory of `unia infer` for each image, and for COCO val: `python -m benchmarks.storage data/coco`.

What is stored depends on the crop, the patches and the classes, not on how good or wide the network is: a
small one with random weights stands in. Images are those of a prepared dataset, taken again where more are
asked for.
"""

import tempfile
from pathlib import Path

import torch

from benchmarks.memory import measured
from benchmarks.report import Row, arguments, publish
from benchmarks.samples import repeated, write_val
from unia.config import load
from unia.data.samples import load_split
from unia.model.checkpoint import Header, save_checkpoint
from unia.model.network import build

COCO_VAL = 40_137
SMALL = (
    "model.backbone=vit_tiny_patch16_224",
    "model.weights=null",
    "model.vit={depth: 3}",
    "model.uncertainty.hidden=96",
    "model.uncertainty.heads=3",
    "model.uncertainty.mlp=[192, 64]",
    "model.decoder.channels=64",
)

INFER = """
import sys
from pathlib import Path
from unia.recipe import Infer, PseudoLabel
from unia.steps.infer import infer
pseudo_label, config, place, checkpoint = sys.argv[1:]
settings = PseudoLabel.model_validate_json(pseudo_label), Infer.model_validate_json(config)
infer(*settings, Path(place) / "data", "val", Path(checkpoint), Path(place) / "out")
"""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--dataset", default="coco", help="whose parameters")
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--set", dest="settings", action="append", default=[])
    options = parser.parse_args()
    small = [f"datasets.{options.dataset}.{setting}" for setting in SMALL]
    recipe = load(Path("params.yaml"), [*small, *options.settings]).recipe(options.dataset)
    about = load_split(options.data, options.split)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        checkpoint = Path(name) / "checkpoint.safetensors"
        torch.manual_seed(0)
        model = build(recipe.model, len(about.classes))
        save_checkpoint(
            model,
            Header(recipe.model, about.classes, options.dataset, 0, recipe.train.crop, None),
            checkpoint,
        )
        for count in options.images:
            place = Path(name) / str(count)
            write_val(place / "data", about.classes, repeated(about.samples, count))
            settings = [recipe.pseudo_label.model_dump_json(), recipe.infer.model_dump_json()]
            _, memory = measured(INFER, *settings, place, checkpoint)
            sizes = [path.stat().st_size for path in (place / "out").rglob("*") if path.is_file()]
            logits = [path.stat().st_size for path in (place / "out" / "logits").iterdir()]
            rows.append(
                {
                    "images": count,
                    "classes": len(about.classes) + 1,
                    "size": recipe.infer.size,
                    "batch": recipe.infer.batch,
                    "peak MiB": round(memory / 2**20),
                    "logits MB an image": round(sum(logits) / count / 1e6, 3),
                    "MB an image": round(sum(sizes) / count / 1e6, 3),
                    "GB for 40,137 images": round(sum(sizes) / count * COCO_VAL / 1e9, 1),
                }
            )
    publish("storage", rows, options.save)


if __name__ == "__main__":
    main()
