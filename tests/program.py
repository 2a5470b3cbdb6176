"""`unia ...` in the test's own process, which has loaded its libraries already."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from unia import cli


def unia(folder: Path, *arguments: str, code: int = 0, environment: dict[str, str] | None = None) -> str:
    """Run the command in `folder`; it must end with exit code `code`. Returns what it said."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["unia", *arguments])
        for name in ("MLFLOW_TRACKING_URI", "UNIA_SET"):
            patch.delenv(name, raising=False)
        for name, value in {"COLUMNS": "200", **(environment or {})}.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert (ended.value.code or 0) == code, f"unia {' '.join(arguments)}\n{said.getvalue()}"
    return said.getvalue()
