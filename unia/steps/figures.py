"""`unia figures`: pictures of a run, as PNG files: its training, its scores, and what it sees in images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure

from unia.data.samples import load_split, read_image, read_mask
from unia.errors import UserError
from unia.figures.about import About, captioned
from unia.figures.bars import class_bars
from unia.figures.co_occurrence import co_occurrence
from unia.figures.confusion import confusion_figure
from unia.figures.curves import learning_curves
from unia.figures.maps import maps
from unia.figures.panels import Row, panels
from unia.figures.ranking import chosen, image_miou, worst
from unia.figures.sizes import sizes
from unia.figures.thresholds import thresholds
from unia.figures.wrong_pixels import wrong_pixels
from unia.files import atomic, read_json
from unia.model.checkpoint import load, read_header
from unia.model.network import UniA
from unia.model.windows import as_trained, base_size
from unia.progress import track
from unia.recipe import Infer, PseudoLabel
from unia.steps.infer import Images

SHOWN = 6  # images of a panel
DPI = 150
LABELS = {"mutual": "pseudo label", "seg_ms": "prediction", "crf": "after CRF"}
ROW = "; red: the token whose affinity is shown; uncertainty and affinity have each their own range"


def figures(scores: Path, losses: Path, data: Path, of: About) -> dict[str, Figure]:
    """The figures that need no network, by name; some only where what they show was scored."""
    document = read_json(scores)
    drawn = {
        "learning_curves": captioned(
            learning_curves(losses),
            "Learning rate and losses over the iterations; loss is the weighted sum of those after it",
            of,
        ),
        "class_iou": captioned(class_bars(scores), "IoU of each class", of),
        "confusion": captioned(confusion_figure(scores), "Where the pixels of each class went", of),
        "co_occurrence": captioned(
            co_occurrence(scores, data),
            "Does a class light up on its companions? Each point is an ordered pair of classes",
            of,
        ),
        "sizes": captioned(sizes(document), "IoU of objects by the share of the image they cover", of),
    }
    if "thresholds" in document:
        drawn["thresholds"] = captioned(thresholds(document), "mIoU of the CAM over its threshold", of)
    if "wrong_pixels" in document:
        seen = "What tells wrong pixels? Each curve is a signal, from its highest value to its lowest"
        drawn["wrong_pixels"] = captioned(wrong_pixels(document), seen, of)
    return drawn


def image_figures(
    pseudo_label: PseudoLabel,
    config: Infer,
    data: Path,
    split: str,
    checkpoint: Path,
    labels: Mapping[str, Path],
    images: Path,
    of: About,
) -> dict[str, Figure]:
    """Panels of chosen and of the worst images; `labels`: folders of label maps by their `LABELS`."""
    miou = image_miou(images)
    if not miou:
        raise UserError(f"{images}: scores no image; run the score step again")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load(checkpoint).to(device)
    tile = read_header(checkpoint).tile
    items = Images(load_split(data, split))
    picked = {
        "chosen": (chosen(miou, SHOWN), "Images at even distances through the split"),
        "worst": (worst(miou, SHOWN), "The images of lowest mIoU after the CRF"),
    }
    drawn = {}
    for name, (names, seen) in picked.items():
        rows = _rows(model, items, names, miou, labels, pseudo_label, config, tile)
        drawn[name] = captioned(panels(rows), seen + ROW, of)
    return drawn


def write_figures(drawn: Mapping[str, Figure], out: Path) -> None:
    """Each as `out`/<name>.png."""
    with atomic(out) as folder:
        folder.mkdir()
        for name, figure in drawn.items():
            figure.savefig(folder / f"{name}.png", dpi=DPI)


def _rows(
    model: UniA,
    items: Images,
    names: Sequence[str],
    miou: Mapping[str, float],
    labels: Mapping[str, Path],
    pseudo_label: PseudoLabel,
    config: Infer,
    tile: int | None,
) -> list[Row]:
    device = next(model.parameters()).device
    places = {sample.name: place for place, sample in enumerate(items.split.samples)}
    rows = []
    for name in track(names, "figures"):
        if name not in places:
            raise UserError(f"{name}: was scored, but is not in the split; run the score step again")
        sample = items.split.samples[places[name]]
        _, image, present = items[places[name]]
        base = base_size(image, config.size, tile, model.backbone.patch)
        assert sample.mask is not None  # it has a score
        rows.append(
            Row(
                name,
                miou[name],
                read_image(sample.image),
                read_mask(sample.mask),
                maps(
                    as_trained(model, base, config.size, tile),
                    image.to(device),
                    None if present is None else present.to(device),
                    base,
                    pseudo_label.cam_scales,
                ),
                {
                    LABELS[kind]: read_mask(folder / f"{name}.png")
                    for kind, folder in labels.items()
                    if folder.is_dir()
                },
            )
        )
    return rows
