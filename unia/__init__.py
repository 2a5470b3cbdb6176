"""UniA: weakly supervised semantic segmentation, as a reproducible experiment system."""

from typing import Any


def __getattr__(name: str) -> Any:
    """`unia.load(path)`: the network of a checkpoint. Imported late: torch takes seconds."""
    if name == "load":
        from unia.model.checkpoint import load

        return load
    raise AttributeError(f"module 'unia' has no attribute {name!r}")
