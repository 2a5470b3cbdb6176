"""The data card of a split: what it holds, where its labels come from, how far they agree with its masks.

`prepare` writes one beside each split's table, as <split>.card.json; `page` shows it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from unia.data.checks import Checked, Disagreement, Seen
from unia.data.samples import Dataset, Sample
from unia.files import read_json, sha256
from unia.labels import IGNORE

SIZES = 10  # the most frequent image sizes that are listed

Card = Mapping[str, Any]


def card(dataset: str, split: str, found: Dataset, checked: Checked, manifest: Path) -> Card:
    """The card of a split, whose table `manifest` is written already.

    `classes` counts images by label and pixels by mask; `co_occurrence[i][j]` counts the images labelled
    with both classes i+1 and j+1 (on the diagonal: with i+1); `sizes` are width x height in pixels.
    """
    samples, seen = checked.splits[split], checked.seen[split]
    pixels = _pixels(seen)
    together = _co_occurrence(samples, len(found.classes))
    per_image = Counter(len(sample.labels) for sample in samples if sample.labels is not None)
    return {
        "dataset": dataset,
        "split": split,
        "images": len(samples),
        "masks": sum(sample.mask is not None for sample in samples),
        "volumes": len({sample.volume for sample in samples if sample.volume is not None}),
        "left_out": len({p.name for p in checked.problems if p.split == split}),
        "labels_from": found.labels_from,
        "classes": [
            {"class": name, "images": together[k - 1][k - 1], "pixels": pixels[k]}
            for k, name in enumerate(found.classes, 1)
        ],
        "background_pixels": pixels[0],
        "ignored_pixels": pixels[IGNORE],
        "labels_per_image": {str(count): per_image[count] for count in sorted(per_image)},
        "co_occurrence": together,
        "sizes": _sizes(seen),
        "turned": sum(one.turned for one in seen),
        "in_other_splits": sum(d.split == split != d.other_split for d in checked.duplicates),
        "disagreements": {
            "of": checked.compared[split],
            **_disagreements(checked.disagreements[split], found.classes),
        },
        "licence": found.licence,
        "citation": found.citation,
        "manifest": {"file": manifest.name, "sha256": sha256(manifest)},
    }


def read_card(folder: Path, split: str) -> Card:
    """The card of a split of the prepared dataset in `folder`; UserError where there is none."""
    content: Card = read_json(folder / f"{split}.card.json")
    return content


def page(card: Card) -> str:
    """A card as a page of HTML that stands alone."""
    images = card["images"]
    differ = card["disagreements"]
    facts = {
        "images": images,
        "with a mask": card["masks"],
        "volumes": card["volumes"] or "none",
        "left out, with problems": card["left_out"],
        "labels from": card["labels_from"],
        "labels per image": _listed(card["labels_per_image"]),
        "width x height": _listed({f"{w} x {h}": n for w, h, n in card["sizes"]["most_frequent"]}),
        "different sizes": card["sizes"]["different"],
        "ignored pixels": f"{card['ignored_pixels']:,}",
        "turned by EXIF, which is not applied": card["turned"],
        "also in a later split, under another name": card["in_other_splits"],
        "images whose labels and mask disagree": f"{differ['images']:,} of {differ['of']:,}",
        "licence": card["licence"],
        "cite": card["citation"],
        "sha256 of " + card["manifest"]["file"]: card["manifest"]["sha256"],
    }
    painted = sum(row["pixels"] for row in card["classes"]) + card["background_pixels"]
    classes = [
        (
            *(row["class"], row["images"], f"{row['pixels']:,}", f"{row['pixels'] / max(painted, 1):.2%}"),
            *(differ[side].get(row["class"], 0) for side in ("labelled_only", "painted_only")),
        )
        for row in card["classes"]
    ]
    names = [row["class"] for row in card["classes"]]
    title = f"{card['dataset']}: {card['split']}"
    return "\n".join(
        (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>',
            f"<style>{STYLE}</style><h1>{escape(title)}</h1>",
            _table((), facts.items()),
            "<h2>Classes</h2><p>Images by label; pixels by mask, as a share of those not ignored; "
            "images whose label and mask disagree on the class.</p>",
            _table(("class", "images", "pixels", "share", "only labelled", "only in the mask"), classes),
            "<h2>Labels together</h2><p>Images that hold both the row's and the column's class; "
            "the shade is their share of the row's images.</p>",
            _matrix(names, card["co_occurrence"]),
            "</html>\n",
        )
    )


STYLE = (
    "body{font:15px sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse}"
    "td,th{padding:.15em .5em;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}"
    ".matrix td{text-align:right;border:0}.matrix thead th{writing-mode:vertical-rl}"
)


def _pixels(seen: Sequence[Seen]) -> Counter[int]:
    """Class id -> its pixels in all masks."""
    total: Counter[int] = Counter()
    for one in seen:
        total.update(one.pixels or {})
    return total


def _co_occurrence(samples: Sequence[Sample], classes: int) -> list[list[int]]:
    """classes x classes: images labelled with both."""
    labels = np.zeros((len(samples), classes), np.int64)
    for row, sample in zip(labels, samples, strict=True):
        row[[number - 1 for number in sample.labels or ()]] = 1
    together: list[list[int]] = (labels.T @ labels).tolist()
    return together


def _sizes(seen: Sequence[Seen]) -> dict[str, Any]:
    """Image sizes as (width, height): smallest and largest by area, the most frequent with their counts."""
    sizes = Counter(one.size for one in seen)
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    frequent = sorted(sizes, key=lambda size: (-sizes[size], size))[:SIZES]
    return {
        "different": len(sizes),
        "smallest": by_area[0],
        "largest": by_area[-1],
        "most_frequent": [(*size, sizes[size]) for size in frequent],
    }


def _disagreements(found: Sequence[Disagreement], classes: Sequence[str]) -> dict[str, Any]:
    """How many images have any, and per class how many are only labelled, or only painted."""

    def count(labelled: bool) -> dict[str, int]:
        counts = Counter(d.number for d in found if d.labelled == labelled)
        return {name: counts[k] for k, name in enumerate(classes, 1) if counts[k]}

    return {
        "images": len({d.name for d in found}),
        "labelled_only": count(True),
        "painted_only": count(False),
    }


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in counts.items()) or "none"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    top = "".join(f"<th>{escape(cell)}" for cell in head)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in row) for row in rows)
    return f"<table><thead><tr>{top}</thead>\n{body}</table>"


def _matrix(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Counts shaded by their share of the row's diagonal."""
    head = "".join(f"<th>{escape(name)}" for name in names)
    rows = []
    for k, (name, row) in enumerate(zip(names, counts, strict=True)):
        shades = [0 if i == k else count / max(row[k], 1) for i, count in enumerate(row)]
        cells = "".join(
            f'<td style="background:rgb(70 130 180/{shade:.2f})">{count}'
            for count, shade in zip(row, shades, strict=True)
        )
        rows.append(f"<tr><th>{escape(name)}{cells}")
    body = "\n".join(rows)
    return f'<table class="matrix"><thead><tr><th>{head}</thead>\n{body}</table>'
