"""What the classes of an own dataset may be called: each name is a column, a label and a part of rows."""

import unicodedata
from collections.abc import Sequence

MOST = 254  # ids 1..254 of a mask: 0 is the background, 255 is ignored
BACKGROUND = "background"


def class_names(names: Sequence[str]) -> Sequence[str]:
    """`names`, unchanged; ValueError where one cannot be written, or cannot be told from another.

    Two that differ in case or spaces only are one to a reader. `background` is class 0 everywhere; rows of
    tables, all_<class> among them, have names too.
    """
    from unia.prediction_kinds import KINDS

    for name in names:
        if not name or name != name.strip() or ";" in name:
            raise ValueError("names may not be empty, nor hold a ; or begin or end with a space")
        if not name.isprintable():
            raise ValueError("names may hold letters and signs that can be printed")
    taken = {plain(BACKGROUND): "class 0 of every dataset and needs no naming"}
    taken |= {plain(kind): "a row of every table" for kind in KINDS}
    taken |= {plain(f"all_{name}"): f"the row all_{name} of tables" for name in (BACKGROUND, *names)}
    seen: dict[str, str] = {}
    for name in names:
        if plain(name) in taken:
            raise ValueError(f"{name!r} is {taken[plain(name)]}")
        if plain(name) in seen:
            raise ValueError(f"each may be named once, and {seen[plain(name)]!r}, {name!r} read as one")
        seen[plain(name)] = name
    return names


def plain(name: str) -> str:
    """What is left of a name without case, spaces and ways to write an accent."""
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())
