"""What a step was made with: the state of the code, the environment, the machine, the command."""

import hashlib
import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from unia.files import content
from unia.progress import say
from unia.tracking.git import GitFailed, git, listed

ROOT = Path(__file__).parents[2]
LOCK = Path("envs/requirements.txt")
PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "scipy",
    "pillow",
    "safetensors",
    "pydensecrf2",
    "pycocotools",
    "nibabel",
    "unia",
)
CHANGED = ("diff", "--name-only", "-z", "--no-ext-diff", "--no-renames", "--no-relative")
CODE = ("*.py", "*.smk", "*.yaml", "Snakefile")  # what git does not know of, yet runs
# DVC writes results' hashes into dvc.lock while the stages run; results may be a link to another disk.
NO_CODE = (":(exclude)dvc.lock", ":(exclude)results")


def git_state() -> dict[str, Any]:
    """{commit, dirty, diff} of the repository that holds this code; all None, and said why, without one.

    `diff` is the sha256 of what the working tree adds to the commit: the names and contents of tracked files
    that were changed, and of code that git does not track. A clean tree has none.
    """
    try:
        commit = os.fsdecode(git(ROOT, "rev-parse", "HEAD")).strip()
        if not listed(ROOT, "ls-files", "-z", "--", *CODE):
            top = os.fsdecode(git(ROOT, "rev-parse", "--show-toplevel")).strip()
            raise GitFailed(f"the repository {top} does not hold it")
        changed = listed(ROOT, *CHANGED, "HEAD", "--", ".", *NO_CODE)
        changed += listed(ROOT, "ls-files", "-z", "--others", "--exclude-standard", "--", *CODE)
    except GitFailed as error:
        say(f"warning: no commit of the code in {ROOT} is recorded: {error}")
        return {"commit": None, "dirty": None, "diff": None}
    digest = hashlib.sha256()
    for name in changed:
        digest.update(os.fsencode(f"{name}\0{content(ROOT / name).sha256}\n"))
    return {"commit": commit, "dirty": bool(changed), "diff": digest.hexdigest() if changed else None}


def tell_other_code() -> None:
    """Say so where the working folder holds code of its own, and that of another folder runs.

    So it is in a copy of a project, whose programs are still the first one's.
    """
    if Path("unia/cli.py").is_file() and not Path.cwd().samefile(ROOT):
        say(f"warning: what runs is the code in {ROOT}, not that of this folder: run `make setup` here")


def has_commit(commit: str) -> bool:
    """Whether the repository that holds this code knows a commit."""
    try:
        git(ROOT, "cat-file", "-e", f"{commit}^{{commit}}")
    except GitFailed:
        return False
    return True


def environment() -> dict[str, Any]:
    """Lock file, versions, device and kind of host. torch is asked only where the step has imported it."""
    found: dict[str, Any] = {
        "lock": lock(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "host": {"system": platform.system(), "machine": platform.machine(), "cores": os.cpu_count()},
        "device": "CPU",
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["host"]["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
        if torch.cuda.is_available():
            found["device"] = torch.cuda.get_device_name()
            found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return found


def lock() -> str | None:
    """The sha256 of the lock file that lies beside this code."""
    return content(ROOT / LOCK).sha256


def command() -> list[str]:
    """The command line of this process, without the place where its program lies."""
    program, *arguments = sys.argv
    return ["unia" if Path(program).name == "__main__.py" else Path(program).name, *arguments]


def engine() -> str | None:
    """snakemake or dvc, where one of them runs this process; None where it was started by hand."""
    programs: set[str] = set()
    try:
        for parent in psutil.Process().parents():
            programs |= {Path(part).name for part in parent.cmdline()[:3]}
    except psutil.Error:  # a parent has ended, or is another user's
        pass
    return next((name for name in ("snakemake", "dvc") if name in programs), None)


def settings() -> list[str]:
    """The overrides of params.yaml that the environment holds (UNIA_SET, one a line)."""
    return os.environ.get("UNIA_SET", "").splitlines()


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{a: {b: 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
