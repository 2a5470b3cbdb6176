"""A copy of the project in a folder of its own, and its commands run there."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import reduce
from operator import getitem
from pathlib import Path

import yaml
from program import unia
from smallest import NETWORK

TABLE = "results/shapes_val.csv"
ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
TINY = (  # settings that make every step take seconds
    *NETWORK,
    "small.train.batch=4",
    "small.train.iterations=6",
    "small.train.log_every=2",
    *(f"small.losses.{loss}.after=2" for loss in ("ptc", "affinity", "distribution", "segmentation")),
    "small.losses.energy.after=2",
    "datasets.shapes.data={kind: shapes, size: 32, train: 12, val: 6, seed: 0}",
    "ablations.shapes={seeds: [1], variants: [full, no_energy], changes: {train: {iterations: 6}}}",
)


class Project:
    """The tracked files, copied and committed; `settings` are written into params.yaml before."""

    def __init__(self, folder: Path, settings: tuple[str, ...] = TINY):
        subprocess.run(["git", "init", "--quiet", folder], check=True)
        # Its repository's view of ROOT, which may come from an archive and be none itself.
        view = ["git", f"--git-dir={folder / '.git'}", f"--work-tree={ROOT}"]
        names = subprocess.run(
            [*view, "ls-files", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
        for name in names:
            if (ROOT / name).is_file() and not name.startswith("tests/"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self._enter(folder)
        self.set(*settings)
        for command in ("add .", "-c user.name=a -c user.email=a@b commit --quiet -m a"):
            subprocess.run(["git", *command.split()], cwd=folder, check=True)

    @classmethod
    def there(cls, folder: Path) -> "Project":
        """The project that lies in `folder` already."""
        project = cls.__new__(cls)
        project._enter(folder)
        return project

    def _enter(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "UNIA_"))
            },
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder),
            "COLUMNS": "200",
            **{f"GIT_{role}_NAME": "a" for role in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{role}_EMAIL": "a@example.org" for role in ("AUTHOR", "COMMITTER")},
        }

    def copy(self, folder: Path) -> "Project":
        """All of it in another folder, with the times of the files."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        return Project.there(folder)

    def set(self, *settings: str) -> None:
        """Change parameters, each as in recipe.crf.iterations=5, in params.yaml."""
        path = self.folder / "params.yaml"
        document = yaml.safe_load(path.read_text())
        for setting in settings:
            keys, _, value = setting.partition("=")
            *sections, name = keys.split(".")
            section = reduce(getitem, sections, document)
            section[name] = yaml.safe_load(value)
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy; its output is kept, stderr with stdout."""
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in the copy; what it prints goes to started.log."""
        with (self.folder / "started.log").open("w") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=self.environment, text=True,
                stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def ok(self, *command: str) -> str:
        """Run a command that must succeed; returns what it printed."""
        done = self.run(*command)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"
        return done.stdout

    def unia(self, *arguments: str, code: int = 0) -> str:
        """A command of unia in this process, which is quicker; returns what it said."""
        return unia(self.folder, *arguments, code=code)

    def rules(self, *arguments: str) -> list[str]:
        """The rules that Snakemake would run, in order."""
        lines = self.ok("snakemake", "--dry-run", *arguments).splitlines()
        return [line.removeprefix("rule ").rstrip(":") for line in lines if line.startswith("rule ")]

    def steps(self, target: str) -> list[list[str]]:
        """The arguments of the `unia` commands that Snakemake would run for `target`, in order."""
        said = self.ok("snakemake", "--dry-run", "--printshellcmds", target)
        lines = re.findall(r"^Shell command: unia (.+)$", said, re.MULTILINE)
        return [shlex.split(line) for line in lines]

    def stages(self, *arguments: str) -> list[str]:
        """Let DVC reproduce; the stages that it ran, in order, but for those that look at sources: always."""
        ran = re.findall(r"^Running stage '(.+)':", self.ok("dvc", "repro", *arguments), re.MULTILINE)
        return [stage for stage in ran if not stage.startswith("source@")]

    def commit(self) -> None:
        """Commit all that git does not ignore, as DVC's experiments and comparisons need."""
        self.ok("git", "add", "--all")
        self.ok("git", "commit", "--quiet", "--allow-empty", "--message", "All files")
