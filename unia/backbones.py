"""The names of timm's plain vision transformers, read from its files: to import timm takes seconds.

Plain is what `unia.model.backbone` computes as timm does; what it builds it compares with timm itself.
"""

import difflib
import re
from collections.abc import Collection
from functools import cache
from importlib.util import find_spec
from pathlib import Path

FILES = ("vision_transformer", "vision_transformer_hybrid", "deit")
# In the function that makes one: other patches, blocks, attention, a token that we do not know.
OTHERWISE = re.compile(r"_hybrid\(|block_fn=|attn_layer=|distilled=True")


def known(name: str) -> str:
    """`name`, an architecture or `<architecture>.<weights>`; ValueError where timm has no such plain ViT.

    What names a place (`hf-hub:...`, `local-dir:...`) is left to timm; and every name where timm is not
    installed, as in the environment of a Snakemake that gives each rule one of its own: the rule finds out.
    """
    architecture, _, weights = name.partition(".")
    if ":" in name or find_spec("timm") is None:
        return name
    plain = {name for name, plain in architectures().items() if plain}
    if architecture not in plain:
        near = _nearest(architecture, plain)
        if architecture in architectures():
            raise ValueError(f"is no plain vision transformer, but computes other tokens{near}")
        raise ValueError(f"timm has no plain vision transformer of this name{near}")
    if weights and weights not in re.findall(r"\.(\w+)\*?['\"]", _source()):
        own = re.findall(rf"['\"]{architecture}\.(\w+)\*?['\"]", _source())
        raise ValueError(f"timm has no weights {weights!r}{_nearest(weights, own)}")
    return name


@cache
def architectures() -> dict[str, bool]:
    """Name -> whether it is plain, of all vision transformers in these files."""
    functions = re.findall(r"^@register_model\n(def (\w+)\(.*\n(?:[ )].*\n|\n)+)", _source(), re.MULTILINE)
    return {name: OTHERWISE.search(text) is None for text, name in functions}


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
