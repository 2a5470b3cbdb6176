"""Every way to make params.yaml wrong: each key misspelt, missing, empty, of a wrong type, out of range.

`mutations` walks the file itself, so that a new parameter is mutated as soon as it is there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

Path = tuple[str | int, ...]
WRONG = {  # values that are of the type of none that is asked for, or beyond every sensible range
    "null": None,
    "text": "nonsense",
    "empty text": "",
    "boolean": True,
    "a number": 3.5,
    "a list": [],
    "a list in a list": [[]],
    "a mapping": {},
    "a strange mapping": {"nonsense": 1},
    "negative": -1,
    "zero": 0,
    "nan": float("nan"),
    "infinite": float("inf"),
    "huge": 10**12,
    "huger": 10**400,
    "a date": yaml.safe_load("2020-01-01"),
}


@dataclass(frozen=True)
class Mutation:
    """What was done to the key at `path`, and the document then."""

    path: Path
    what: str
    document: Mapping[str, Any]

    written: str = ""
    """What the key is called there, where that was changed."""

    @property
    def key(self) -> str:
        return ".".join(map(str, self.path))

    def __str__(self) -> str:
        return f"{self.key} {self.what}"


def mutations(document: Mapping[str, Any]) -> Iterator[Mutation]:
    """Every key of `document`, and every item of its lists, each wrong in every way."""
    for path in _paths(document):
        for what, value in WRONG.items():
            if type(value) is not type(_at(document, path)) or value != _at(document, path):
                yield Mutation(path, what, _changed(document, path, path[-1], value))
        if isinstance(path[-1], str):
            same, wrong = _at(document, path), misspelt(path[-1])
            yield Mutation(path, "missing", _changed(document, path, None))
            yield Mutation(path, "misspelt", _changed(document, path, wrong, same), wrong)
            yield Mutation(path, "a number as key", _changed(document, path, 7, same), "7")


def misspelt(key: str) -> str:
    """Without its last letter but one; doubled where it is short."""
    return key[:-2] + key[-1] if len(key) > 3 else key + key[-1]


def _paths(value: Any, above: Path = ()) -> Iterator[Path]:
    items: Any = value.items() if isinstance(value, Mapping) else ()
    if isinstance(value, list):
        items = enumerate(value)
    for key, below in items:
        yield (*above, key)
        yield from _paths(below, (*above, key))


def _at(document: Any, path: Path) -> Any:
    for part in path:
        document = document[part]
    return document


def _changed(document: Any, path: Path, key: Any, value: Any = None) -> Any:
    """A copy where the key at `path` is called `key` and holds `value`; it is gone where `key` is None."""
    first, *rest = path
    if rest:
        key, value = first, _changed(document[first], tuple(rest), key, value)
    if isinstance(document, list):
        return [value if i == first else below for i, below in enumerate(document)]
    items = [(key, value) if k == first else (k, below) for k, below in document.items()]  # in the same place
    return {k: below for k, below in items if k is not None}
