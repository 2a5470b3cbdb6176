"""Readers of files that come from elsewhere, given damaged ones: they read them, or refuse them in one line.

A few damages in CI, many with `make faults` (`--hypothesis-profile many`); always the same ones.
"""

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from scipy.io import savemat

from unia.config import load
from unia.data import acdc, coco, images, voc
from unia.data.paint import paint
from unia.data.samples import load_split
from unia.errors import UserError
from unia.files import Content
from unia.layers import overlay
from unia.model.checkpoint import load_backbone, read_header, read_state_dict
from unia.model.network import UniA, build
from unia.recipe import CocoData, ImagesData, Model
from unia.steps.crf import read_logits
from unia.tracking.receipt import read_receipt, write_receipt

PARAMS = Path(__file__).parents[2] / "params.yaml"
COCO = CocoData(kind="coco", source="x", crowd="paint", min_area=0)
OWN = ImagesData(kind="images", source="x", classes=("rose", "tulip"))

Damage = tuple[str, float, bytes]
"""What is done, where (as a part of the length), and the bytes put there."""

damages = st.lists(
    st.tuples(
        st.sampled_from(["overwrite", "insert", "cut out", "end", "repeat"]),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=8) | st.sampled_from([b"9" * 30, b"-1", b"[", b"{", b'"', b"\n"]),
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


def damaged(content: bytes, done: list[Damage]) -> bytes:
    for what, part, new in done:
        place = int(part * len(content))
        before, after = content[:place], content[place:]
        if what == "overwrite":
            content = before + new + after[len(new) :]
        elif what == "insert":
            content = before + new + after
        elif what == "cut out":
            content = before + after[len(new) :]
        elif what == "end":
            content = before
        else:
            content = before + before[-100:] + after
    return content


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def a_checkpoint() -> bytes:
    model = load(PARAMS).recipe("shapes").model.model_dump(mode="json")
    about = {
        "model": model,
        "classes": ["a", "b"],
        "dataset": "shapes",
        "iteration": 3,
        "crop": 16,
        "tile": None,
    }
    return save({"x": torch.zeros(2, 3)}, metadata={"unia": json.dumps(about)})


@cache
def a_network() -> UniA:
    vit = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 3, "num_heads": 2}
    model = load(PARAMS).recipe("shapes").model.model_dump()
    inference = {"hidden": 8, "heads": 2, "mlp": (8, 8)}
    changes = {"vit": vit, "uncertainty": inference, "decoder": {"channels": 8}}
    return build(Model.model_validate(overlay(model, changes)), 2)


def coco_json() -> bytes:
    square = [[1, 1, 4, 1, 4, 4, 1, 4]]
    annotations = [
        {"image_id": 1, "category_id": 1, "segmentation": square, "iscrowd": 0},
        {"image_id": 1, "category_id": 3, "segmentation": {"size": [6, 8], "counts": [5, 10, 33]}},
        {"image_id": 1, "category_id": 2, "segmentation": {"size": [6, 8], "counts": "5:Q1"}},
    ]  # fmt: skip
    picture = {"id": 1, "file_name": "a.jpg", "height": 6, "width": 8}
    categories = [{"id": k, "name": coco.CATEGORIES[k]} for k in (1, 2, 3)]
    return json.dumps({"images": [picture], "annotations": annotations, "categories": categories}).encode()


def read_coco(path: Path) -> None:
    pictures, _, _ = coco._pictures(path, "train")
    for picture in pictures:
        try:
            paint(COCO, picture.height, picture.width, picture.objects)
        except ValueError as error:  # which becomes a problem of that image
            raise UserError(str(error)) from None


def a_receipt() -> bytes:
    Path("out").write_text("x")
    path = write_receipt({"step": "table"}, {}, (), {"out": Content(Path("out"), "0" * 64)})
    return path.read_bytes()


def a_split() -> bytes:
    about: dict[str, object] = {
        "name": "x",
        "classes": ["a"],
        "unions": {},
        "protocol": "",
        "tile": None,
        "splits": {"val": {}},
    }
    Path("dataset.json").write_text(json.dumps(about))
    return (
        b"name,image,mask,labels,volume,image_sha256,mask_sha256\na,a.jpg,,1 2,,00,\nb,b.jpg,b.png,,v,0,0\n"
    )


def a_volume() -> bytes:
    return nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), np.eye(4)).to_bytes()


MASK = {"GTcls": {"Segmentation": np.ones((3, 4), np.uint8)}}
LABELS = b"image,split,labels,mask\n0.png,train,rose,\n1.png,train,rose;tulip,\n2.png,val,tulip,2m.png\n"
XML = b"<?xml version='1.0' encoding='utf-8'?><annotation><object><name>cat</name></object></annotation>"

READERS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], object]]] = {
    "params.yaml": ("params.yaml", PARAMS.read_bytes, load),
    "labels.csv": (
        "labels.csv",
        lambda: LABELS,
        lambda path: images.read(OWN, [path.parent], path, path),
    ),
    "a split's table": ("val.csv", a_split, lambda path: load_split(path.parent, "val")),
    "VOC's XML": ("a.xml", lambda: XML, lambda path: voc._annotated(path, voc.CLASSES)),
    "COCO's JSON": ("a.json", coco_json, read_coco),
    "SBD's .mat": ("a.mat", lambda: written(lambda s: savemat(s, MASK)), voc._segmentation),
    "NIfTI": ("a.nii", a_volume, acdc._load),
    "logits": (
        "a.npz",
        lambda: written(lambda s: np.savez(s, *np.ones((2, 3, 4, 5), np.float16))),
        lambda path: read_logits(path, 3),
    ),
    "safetensors": ("a.safetensors", a_checkpoint, read_header),
    "pretrained weights": (
        "vit.pth",
        lambda: written(lambda s: torch.save({"model": a_network().backbone.vit.state_dict()}, s)),
        lambda path: load_backbone(a_network(), path),
    ),
    ".pth": ("a.pth", lambda: written(lambda s: torch.save({"x": torch.zeros(3)}, s)), read_state_dict),
    "a receipt": ("out.run.json", a_receipt, read_receipt),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", READERS)
def test_damaged_files_are_read_or_refused(kind: str) -> None:
    name, make, read = READERS[kind]
    whole = make()
    path = Path(name)
    path.write_bytes(whole)
    read(path)
    refused = 0

    @given(damages)
    def damage(done: list[Damage]) -> None:
        nonlocal refused
        path.write_bytes(damaged(whole, done))
        message = ""
        try:
            read(path)
        except UserError as error:
            message = str(error)
        refused += bool(message)
        assert "\n" not in message

    damage()
    print(f"| {kind} | {settings().max_examples} tried | {refused} refused |")
