"""git, answering the same whoever asks: by its plain commands, without what a user's settings add to them."""

import os
import subprocess
from pathlib import Path

IGNORED = (  # what names another repository, as a hook of git has it, and what changes an answer
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"),
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_IMPLICIT_WORK_TREE", "GIT_NAMESPACE", "GIT_SHALLOW_FILE"),
    *(
        "GIT_GRAFT_FILE",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_REPLACE_REF_BASE",
        "GIT_EXTERNAL_DIFF",
        "GIT_DIFF_OPTS",
    ),
    *(f"GIT_{kind}_PATHSPECS" for kind in ("LITERAL", "GLOB", "NOGLOB", "ICASE")),
)
SETTINGS = {"core.quotePath": "off", "core.fsmonitor": "false", "diff.autoRefreshIndex": "true"}


class GitFailed(Exception):
    """Why git did not answer, in one line."""


def git(folder: Path, *arguments: str) -> bytes:
    """What git prints, of the repository that holds `folder`; raises GitFailed."""
    settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    environment = {name: value for name, value in os.environ.items() if name not in IGNORED}
    try:
        result = subprocess.run(
            ["git", *settings, *arguments], cwd=folder, env=environment, capture_output=True, timeout=60
        )
    except FileNotFoundError:
        raise GitFailed("there is no git in PATH") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitFailed(f"git: {error}") from None
    if result.returncode != 0:
        told = " ".join(os.fsdecode(result.stderr).split())
        raise GitFailed(f"git: {told.removeprefix('fatal: ') or f'exit code {result.returncode}'}")
    return result.stdout


def listed(folder: Path, *arguments: str) -> list[str]:
    """The names that git prints with -z, sorted."""
    return sorted(os.fsdecode(name) for name in git(folder, *arguments).split(b"\0") if name)
