"""The names of timm's plain vision transformers, read from its files: to import timm takes seconds."""

import difflib
import re
from collections.abc import Collection
from functools import cache
from importlib.util import find_spec
from pathlib import Path

FILES = ("vision_transformer", "vision_transformer_hybrid", "deit")


def known(name: str) -> str:
    """`name`, an architecture or `<architecture>.<weights>`; ValueError where timm has no such plain ViT.

    What names a place (`hf-hub:...`, `local-dir:...`) is left to timm.
    """
    architecture, _, weights = name.partition(".")
    if ":" in name:
        return name
    if architecture not in architectures():
        near = _nearest(architecture, architectures())
        raise ValueError(f"timm has no plain vision transformer of this name{near}")
    if weights and weights not in re.findall(r"\.(\w+)\*?['\"]", _source()):
        own = re.findall(rf"['\"]{architecture}\.(\w+)\*?['\"]", _source())
        raise ValueError(f"timm has no weights {weights!r}{_nearest(weights, own)}")
    return name


@cache
def architectures() -> frozenset[str]:
    return frozenset(re.findall(r"^@register_model\ndef (\w+)\(", _source(), re.MULTILINE))


@cache
def _source() -> str:
    spec = find_spec("timm")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "models"
    return "".join((folder / f"{name}.py").read_text(encoding="utf-8") for name in FILES)


def _nearest(name: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
