"""Parts of a step's work, for several machines at once.

Each part writes its images to the unfinished folder that an interrupted run would leave. The last call,
without a part, finds them finished and puts the folder in place: its output and receipt are a single job's.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from unia.errors import UserError
from unia.files import sibling

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """The `number`th, from 1, of `count` parts; written 2-of-8, as Snakemake's scattergather does."""

    number: int
    count: int

    @classmethod
    def read(cls, text: str) -> Self:
        """UserError for what is no part."""
        found = re.fullmatch(r"([0-9]{1,9})-of-([0-9]{1,9})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"--part: {text!r} is no part; write 1-of-4 ... 4-of-4")
        return cls(int(found[1]), int(found[2]))

    @property
    def whole(self) -> bool:
        """Whether this is all of the work."""
        return self.count == 1

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Its share of `items`: every `count`th."""
        return items[self.number - 1 :: self.count]

    def marker(self, out: Path) -> Path:
        """The path beside `out` that stands for this part of it."""
        return sibling(out, f"{out.name}.{self}")

    def __str__(self) -> str:
        return f"{self.number}-of-{self.count}"


WHOLE = Part(1, 1)
