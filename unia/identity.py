"""Fingerprints: an interrupted step goes on only where its inputs, parameters and code are unchanged."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import unia
from unia.files import names, sha256


def digest(*parts: str) -> str:
    """The sha256 of the parts, one a line."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def of_parameters(sections: Mapping[str, Any]) -> str:
    """The fingerprint of nested parameters; the order of their keys does not matter."""
    return digest(json.dumps(sections, sort_keys=True))


def of_split(data: Path, split: str) -> str:
    """The fingerprint of a split of a prepared folder: its table holds the sha256 of every image and mask."""
    return digest(*(sha256(data / name) for name in ("dataset.json", f"{split}.csv")))


def of_files(path: Path) -> str:
    """The fingerprint of a file, or of all files below a folder, by names, sizes and times alone."""
    stated = ((name, (path / name).stat()) for name in (names(path) if path.is_dir() else [""]))
    return digest(*(json.dumps((name, stat.st_size, stat.st_mtime_ns)) for name, stat in stated))


def of_code(*parts: str) -> str:
    """The fingerprint of torch's version and of the modules and packages `parts`, paths below unia."""
    import torch  # takes seconds, and not all who ask for files' identity need it

    package = Path(unia.__file__).parent
    return digest(torch.__version__, *(sha256(file) for part in parts for file in _sources(package / part)))


def _sources(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]
