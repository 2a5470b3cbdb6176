"""Own data of a few drawn flowers, in a project."""

import numpy as np
from PIL import Image
from project import Project

from unia.data.samples import write_label

LABELS = """image,split,labels,mask
0.png,train,rose,
1.png,train,tulip,
2.png,train,rose;tulip,
3.png,val,rose,3_mask.png
"""
SECTIONS = "model: {}, pseudo_label: {}, losses: {}, train: {}, infer: {}, crf: {}"
DATA = "kind: images, source: flowers, classes: [rose, tulip]"


def plant(project: Project, data: str = DATA) -> None:
    """Make flowers/ and a dataset of that name, the only one that is computed."""
    folder = project.folder / "flowers"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (16, 12), (60 * number, 120, 60)).save(folder / f"{number}.png")
    write_label(folder / "3_mask.png", np.ones((12, 16), np.uint8))
    (folder / "labels.csv").write_text(LABELS)
    project.set(f"datasets.flowers={{data: {{{data}}}, {SECTIONS}}}", "run=[flowers]")
