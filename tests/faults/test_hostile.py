"""Files made to harm: refused in one line; nothing runs, nothing is written elsewhere, memory stays small."""

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import save
from scipy.io import savemat

from unia.config import load
from unia.data import acdc, coco, voc
from unia.data.samples import read_image
from unia.errors import UserError
from unia.layers import overlay
from unia.model import checkpoint
from unia.steps.crf import read_logits

PARAMS = Path(__file__).parents[2] / "params.yaml"
LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))


class Touch:
    """Unpickled, it would create the file `pwned`."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (Path("pwned"),)


def objects(path: Path) -> None:
    np.savez(path, np.array([Touch()], dtype=object))


def header(path: Path, length: int, text: bytes = b"{}") -> None:
    path.write_bytes(struct.pack("<Q", length) + text)


def claims(path: Path, **changes: object) -> None:
    """A checkpoint whose header describes another network than its tensors are of."""
    model = overlay(load(PARAMS).recipe("shapes").model.model_dump(mode="json"), changes)
    about = {"model": model, "classes": ["a"], "dataset": "x", "iteration": 1, "crop": 60, "tile": None}
    path.write_bytes(save({"x": torch.zeros(1)}, metadata={"unia": json.dumps(about)}))


def sides(path: Path, crop: object, tile: object) -> None:
    """A checkpoint whose header tells of odd sizes."""
    model = load(PARAMS).recipe("shapes").model.model_dump(mode="json")
    about = {"model": model, "classes": ["a"], "dataset": "x", "iteration": 1, "crop": crop, "tile": tile}
    described(path, json.dumps(about))


def described(path: Path, text: str) -> None:
    path.write_bytes(save({"x": torch.zeros(1)}, metadata={"unia": text}))


def volume(path: Path, place: int, content: bytes) -> None:
    """A NIfTI file whose header says something else at a byte."""
    whole = bytearray(nibabel.Nifti1Image(np.zeros((4, 4, 2), np.int16), np.eye(4)).to_bytes())
    whole[place : place + len(content)] = content
    path.write_bytes(whole)


def xml(path: Path, entities: str, name: str) -> None:
    path.write_text(f"<!DOCTYPE a [{entities}]><a><object><name>{name}</name></object></a>")


def text_bomb(path: Path) -> None:
    """A PNG with a comment of 200 MB in a few KB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    pixels = zlib.compress(b"\0" * 4)
    comment = b"x\0\0" + zlib.compress(b"\0" * 200_000_000, 9)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)), (b"zTXt", comment), (b"IDAT", pixels)]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts) + chunk(b"IEND", b""))


# what it is: (file, how it is made, who reads it, part of the refusal)
HOSTILE: dict[str, tuple[str, Callable[[Path], object], Callable[[Path], object], str]] = {
    "logits with objects": ("a.npz", objects, lambda p: read_logits(p, 3), "Object arrays cannot be loaded"),
    "a pickle called logits": (
        "a.npz",
        lambda p: torch.save({"x": Touch()}, p),
        lambda p: read_logits(p, 3),
        "no readable logits",
    ),
    "a pickle called safetensors": (
        "a.safetensors",
        lambda p: torch.save({"x": Touch()}, p),
        checkpoint.load,
        "not a checkpoint of this version of unia",
    ),
    "a header of 2^63 bytes": ("a.safetensors", lambda p: header(p, 2**63), checkpoint.load, "not a check"),
    "a header of 99 MB that is not there": (
        "a.safetensors", lambda p: header(p, 99_000_000), checkpoint.load, "not a checkpoint"
    ),
    "a header of nested JSON": (
        "a.safetensors", lambda p: described(p, "[" * 100_000), checkpoint.load, "not a checkpoint"
    ),
    "a header that is a list": ("a.safetensors", lambda p: described(p, "[]"), checkpoint.load, "TypeError"),
    "a tile of no pixels": ("a.safetensors", lambda p: sides(p, 60, 0), checkpoint.load, "not a checkpoint"),
    "a crop in words": ("a.safetensors", lambda p: sides(p, "60", None), checkpoint.load, "not a checkpoint"),
    "a crop beyond all": ("a.safetensors", lambda p: sides(p, 2**40, 8), checkpoint.load, "not a checkpoint"),
    "a network of terabytes": (
        "a.safetensors",
        lambda p: claims(p, decoder={"channels": 10**8}),
        checkpoint.load,
        "does not fit the model",
    ),
    "a .mat of cells": (
        "a.mat",
        lambda p: savemat(p, {"GTcls": np.array([[Path, 3]], dtype=object).astype(str).astype(object)}),
        voc._segmentation,
        "holds no segmentation of SBD",
    ),
    "a .mat of MATLAB 7.3": (
        "a.mat",
        lambda p: p.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + b"\x89HDF\r\n\x1a\n" * 9),
        voc._segmentation,
        "holds no segmentation of SBD",
    ),
    "a volume of 70 TB": ("a.nii", lambda p: volume(p, 42, b"\xff\x7f" * 3), acdc._load, "cannot be read"),
    "a volume of negative size": ("a.nii", lambda p: volume(p, 42, b"\0\x80"), acdc._load, "cannot be read"),
    "a volume of no known type": ("a.nii", lambda p: volume(p, 70, b"\xff\x7f"), acdc._load, "cannot be"),
    "voxels far behind the end": (
        "a.nii", lambda p: volume(p, 108, struct.pack("<f", 1e30)), acdc._load, "cannot be read"
    ),
    "voxels at NaN": (
        "a.nii", lambda p: volume(p, 108, struct.pack("<f", np.nan)), acdc._load, "cannot be read"
    ),
    "a billion laughs": (
        "a.xml", lambda p: xml(p, '<!ENTITY l0 "ha">' + LAUGHS, "&l11;"),
        lambda p: voc._annotated(p, voc.CLASSES), "cannot be read",
    ),
    "an external entity": (
        "a.xml", lambda p: xml(p, '<!ENTITY x SYSTEM "file:///etc/passwd">', "&x;"),
        lambda p: voc._annotated(p, voc.CLASSES), "cannot be read",
    ),
    "JSON nested 100,000 times": (
        "a.json", lambda p: p.write_text("[" * 100_000), lambda p: coco._pictures(p, "val"), "not valid JSON"
    ),
    "JSON with a number of 10,000 digits": (
        "a.json", lambda p: p.write_text("9" * 10_000), lambda p: coco._pictures(p, "train"), "not valid JSON"
    ),
    "a picture with a comment of 200 MB": ("a.png", text_bomb, read_image, "no readable image"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused(kind: str) -> None:
    name, make, read, reason = HOSTILE[kind]
    make(Path(name))
    with pytest.raises(UserError) as caught:
        read(Path(name))
    print(f"| {kind} | {caught.value} |")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in Path().iterdir()] == [name]
