"""What a step would inherit of the shell, the notebook or the job that starts it, and must not heed.

docs/inherited.md lists all that is heeded, ignored or said.
"""

import locale
import os
import sys

from unia.errors import UserError

INSTEAD = {
    "MPLBACKEND": "agg",  # a notebook names its own one, which is not installed here
    "MATPLOTLIBRC": os.devnull,  # the user's style, or LaTeX
    "PYTHONSAFEPATH": "1",  # else processes that a step starts take a random.py of the project for Python's
}
TORCHRUN = "TORCHELASTIC_RUN_ID"  # it sets this and the ranks; schedulers set the ranks alone
RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK")
UNSEEN = {  # what names parameters, and DVC knows nothing of
    "UNIA_SET": "write its settings into params.yaml",
    "UNIA_PARAMS": "unset it, since DVC reads params.yaml",
}


def check_seen() -> None:
    """UserError where the parameters are others than those in params.yaml, which DVC sees."""
    for name, advice in UNSEEN.items():
        if os.environ.get(name):
            raise UserError(f"{name} is set, which DVC does not see: {advice}")


def set_aside() -> None:
    """Replace such variables for this process and those that it starts.

    Where the locale is not UTF-8, start this program again with Python's UTF-8 mode: else the names of files
    in labels.csv would be others than those on the disk.
    """
    if not sys.flags.utf8_mode and locale.getencoding().lower() not in ("utf-8", "utf8"):
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    os.environ.update(INSTEAD)
    if TORCHRUN not in os.environ:
        for name in RANKS:
            os.environ.pop(name, None)
