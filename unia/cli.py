"""The command line: `unia <step> ...`. A rule of Snakemake and a stage of DVC run these same lines."""

import os
import sys
import traceback

import typer

from unia.commands import checkpoints, figures, predict, provenance, steps, sync
from unia.errors import UserError
from unia.inherited import set_aside
from unia.progress import say
from unia.system import told

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train, evaluate and trust UniA: weakly supervised semantic segmentation from image-level labels.",
)

for commands in (steps.app, figures.app, checkpoints.app, predict.app, provenance.app, sync.app):
    app.add_typer(commands)


def main() -> None:
    """Run a command; what the user can mend is one line and exit code 1."""
    set_aside()
    try:
        app(standalone_mode=True)
    except UserError as error:
        _fail(str(error), error)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if known := told(error):
            _fail(str(known), error)
        reason = " ".join(str(error).split()) or "no reason given"
        _fail(f"{type(error).__name__}: {reason} (a fault of unia's; UNIA_TRACEBACK=1 shows where)", error)


def _fail(message: str, error: BaseException) -> None:
    if os.environ.get("UNIA_TRACEBACK"):
        traceback.print_exception(error)
    say(f"unia: {message}")
    sys.exit(1)
