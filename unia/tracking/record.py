"""What a run was made of: hashes of its data, the state of the code, the versions of its tools."""

import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from unia.files import sha256_tree

Hashes = dict[str, dict[str, str | None]]


def hashes(paths: Mapping[str, Path]) -> Hashes:
    """name -> {path, sha256} (of a file or a whole folder); the hash is None where nothing lies."""
    return {
        name: {"path": str(path), "sha256": sha256_tree(path) if path.exists() else None}
        for name, path in paths.items()
    }


def git_state() -> dict[str, Any]:
    """{commit, dirty} of the repository that holds this code; both None without git or repository."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain") if commit else None
    return {"commit": commit, "dirty": None if changes is None else changes != ""}


def versions() -> dict[str, str]:
    """Of Python, torch and unia."""
    return {
        "python": ".".join(map(str, sys.version_info[:3])),
        "torch": metadata.version("torch"),
        "unia": metadata.version("unia"),
    }


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{a: {b: 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _git(*arguments: str) -> str | None:
    folder = Path(__file__).parent
    try:
        result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
