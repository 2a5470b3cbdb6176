"""What of the predictions may tell wrong pixels of `seg_ms` from right ones, image by image.

uncertainty: u of the network's uncertainty inference; entropy: of the segmentation's class probabilities;
foreground: 1 where a class is predicted, 0 where background, which sees no doubt at all: the trivial signal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unia.data.samples import Sample
from unia.errors import UserError
from unia.labels import IGNORE
from unia.model.segment import logits_at
from unia.resize import resize
from unia.scoring.scores import Counts, Floats, Label
from unia.scoring.wrong_pixels import BINS, Auroc, binned, mean_within, pooled, quantile_edges, within
from unia.steps.crf import read_logits

OF = "seg_ms"
THINNED = 4  # every fourth pixel of every fourth row: neighbours tell the same
SPREAD = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)  # quantiles of u that are told


@dataclass(frozen=True)
class Signals:
    """Where the signals of a split lie, the inner edges of their bins, and how u is spread over tokens."""

    predictions: Path
    classes: int  # with the background
    edges: Mapping[str, Floats]
    spread: Mapping[str, float]

    @classmethod
    def of(cls, predictions: Path, samples: tuple[Sample, ...], classes: int) -> "Signals | None":
        """The signals that the folder of `unia infer` holds; None where it holds no logits."""
        if not (predictions / "logits").is_dir():
            return None
        edges = {
            "entropy": np.log(classes) * (np.arange(1, BINS) / BINS) ** 2,  # most pixels are near 0
            "foreground": np.linspace(0, 1, BINS + 1)[1:-1],
        }
        spread: dict[str, float] = {}
        if (predictions / "uncertainty").is_dir():
            u = np.concatenate([_uncertainty(predictions, sample.name).ravel() for sample in samples])
            edges = {"uncertainty": quantile_edges(u)} | edges
            spread = {f"{share:.0%}": float(np.quantile(u, share)) for share in SPREAD}
        return cls(predictions, classes, edges, spread)

    def see(self, name: str, label: Label, predicted: Label) -> dict[str, tuple[float, Counts]]:
        """signal -> (AUROC within the image, its pixels in bins: 2 x BINS); label and prediction H W."""
        size = (label.shape[0], label.shape[1])
        every = (slice(THINNED // 2, None, THINNED),) * 2
        known = label[every] != IGNORE
        wrong = (label[every] != predicted[every])[known]
        logits = logits_at(read_logits(self.predictions / "logits" / f"{name}.npz", self.classes), size)
        values = {
            "entropy": torch.distributions.Categorical(logits=logits[:, *every].movedim(0, -1)).entropy(),
            "foreground": torch.from_numpy(predicted[every] > 0),
        }
        if "uncertainty" in self.edges:
            u = torch.from_numpy(_uncertainty(self.predictions, name)).double()  # it may differ by 1e-5 only
            values["uncertainty"] = resize(u[None, None], size)[0, 0][every]
        seen = {}
        for signal in self.edges:
            counted = values[signal].double().numpy()[known]
            seen[signal] = within(counted, wrong), binned(counted, wrong, self.edges[signal])
        return seen

    def document(self, seen: Mapping[str, list[tuple[float, Counts]]]) -> dict[str, Any]:
        """For scores.json: of each signal, AUROC as [value, low, high], and the bins of the split."""
        found: dict[str, Any] = {"of": OF, "u": dict(self.spread), "signals": {}}
        for signal, images in seen.items():
            bins = np.stack([counts for _, counts in images])
            found["signals"][signal] = {
                "pixels": _listed(pooled(bins)),
                "within images": _listed(mean_within([value for value, _ in images])),
                "bins": bins.sum(axis=0).tolist(),
            }
        return found


def _listed(auroc: Auroc) -> list[float | None]:
    """[value, low, high]; None where no pixel is wrong, or none right: JSON has no NaN."""
    return [None if np.isnan(v) else v for v in (auroc.value, auroc.low, auroc.high)]


def _uncertainty(predictions: Path, name: str) -> NDArray[np.float32]:
    """u of each token, h w, as `unia infer` wrote it."""
    path = predictions / "uncertainty" / f"{name}.npy"
    try:
        values: NDArray[np.float32] = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run infer for this split again") from None
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: no readable uncertainty ({error}); run infer again") from None
    if values.ndim != 2 or values.dtype != np.float32:
        raise UserError(f"{path}: holds {values.dtype} {values.shape}, no map of tokens; run infer again")
    return values
