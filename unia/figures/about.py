"""What every figure says of itself: what one sees, and which run it is from."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from unia.files import sha256

PER_INCH = 13  # characters of the title's font
DIGEST = 12  # characters of a hash that are shown


@dataclass(frozen=True)
class About:
    """The run, the split and the checkpoint (its sha256) that a figure shows."""

    run: str
    split: str
    checkpoint: str

    def __str__(self) -> str:
        return f"{self.run}, {self.split}; checkpoint sha256 {self.checkpoint[:DIGEST]}"


def about(run: str, split: str, checkpoint: Path) -> About:
    """The run, the split and the sha256 of the file `checkpoint`."""
    return About(run, split, sha256(checkpoint))


def captioned(figure: Figure, seen: str, of: About) -> Figure:
    """The figure with a title, what is `seen`, and a line below it that names its run."""
    lines = textwrap.wrap(seen, int(PER_INCH * figure.get_figwidth()))
    figure.suptitle("\n".join(lines), fontsize=8)
    figure.supxlabel(str(of), fontsize=6, color="0.4")
    return figure
