"""The pipeline under Snakemake, ended by kill -9 at twenty moments: its table is that of an undisturbed run.

The kills are shared out to all steps; within a step the moment is drawn, in seconds of CPU: what else the
machine does moves none. `-k tiny` takes a few minutes; `demo` has the demo's own settings, but saves
training's state more often, which changes no result.
"""

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from project import TABLE, TINY, Project

from unia.files import sha256_tree

pytestmark = [pytest.mark.slow, pytest.mark.faults]

KILLS = {"download": 2, "prepare": 2, "train": 8, "infer": 3, "crf": 3, "score": 1, "table": 1}
ORDER = list(KILLS)
SIZES = {
    "tiny": (*TINY, "small.train.iterations=60", "small.train.save_every=5"),
    "demo": ("datasets.shapes.train.save_every=10",),
}
MADE = (TABLE, "results/shapes/train", "results/shapes/val/predictions", "results/shapes/val/crf")
GLANCE = 0.2  # seconds between two looks at the processes
MOST = 0.8  # of the CPU time that a step takes: until then it may be killed


class Watched:
    """Snakemake making the table, in a process group of its own, with what it says in a file."""

    def __init__(self, project: Project):
        self.said = project.folder.with_name(f"{project.folder.name}.txt")
        with self.said.open("a") as file:
            self.process = subprocess.Popen(
                ["snakemake", "--cores", "all", TABLE], cwd=project.folder, env=project.environment,
                stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def runs(self) -> bool:
        return self.process.poll() is None

    def step(self) -> tuple[str, float]:
        """The step that is at work, and the seconds of CPU that it has taken; ("", 0) between two."""
        with suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                words = child.cmdline()
                if len(words) > 2 and Path(words[1]).name == "unia":
                    return words[2], sum(map(spent, [child, *child.children(recursive=True)]))
        return "", 0.0

    def wait_for(self, step: str, seconds: float) -> None:
        """Until `step` has taken so much, or one after it is at work, or all is done."""
        while self.runs():
            found, taken = self.step()
            if found and (ORDER.index(found), taken) >= (ORDER.index(step), seconds):
                return
            time.sleep(GLANCE)

    def kill(self) -> None:
        """Snakemake and all below it, which are of its group; returns when none is left."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        psutil.wait_procs(below, timeout=10)


def spent(process: psutil.Process) -> float:
    """Seconds of CPU of a process, and of those that it has ended."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def undisturbed(project: Project) -> dict[str, float]:
    """Make the table; the seconds of CPU that each step took."""
    watched, seconds = Watched(project), dict.fromkeys(ORDER, 0.0)
    while watched.runs():
        step, taken = watched.step()
        if step:
            seconds[step] = max(seconds[step], taken)
        time.sleep(GLANCE)
    assert watched.process.returncode == 0, watched.said.read_text()
    return seconds


def kill_in(project: Project, step: str, after: float) -> str:
    """Let Snakemake go on, and kill all when `step` has taken `after`; where the blow fell."""
    while True:
        watched = Watched(project)
        watched.wait_for(step, after)
        if watched.runs():
            fell = watched.step()[0] or "between two steps"
            watched.kill()
            project.ok("snakemake", "--unlock")  # as the README tells
            return fell
        assert watched.process.returncode == 0, watched.said.read_text()
        (project.folder / TABLE).unlink()  # all was done before its moment came: its last step once more
        after /= 2


@pytest.mark.parametrize("size", SIZES)
def test_killed_at_twenty_moments_the_table_is_the_same(size: str, tmp_path: Path) -> None:
    sound = Project(tmp_path / "sound", SIZES[size])
    killed = Project(tmp_path / "killed", SIZES[size])
    start = time.monotonic()
    seconds = undisturbed(sound)
    shares = ", ".join(f"{step} {of_step:.0f}" for step, of_step in seconds.items())
    print(f"{size}: undisturbed {time.monotonic() - start:.0f} s (of CPU: {shares})")

    start, draw, fell = time.monotonic(), random.Random(20), []
    for step, kills in KILLS.items():
        # a training's work is shared out: what one run began the next goes on with
        longest = 2 * seconds[step] / kills if step == "train" else MOST * seconds[step]
        for _ in range(kills):
            after = draw.uniform(0, longest)
            fell.append(kill_in(killed, step, after))
            print(f"{size}: kill {len(fell)}, {after:.1f} s of CPU into {step}: fell in {fell[-1]}")
    killed.ok("snakemake", "--cores", "all", TABLE)
    print(f"{size}: {len(fell)} kills, {time.monotonic() - start:.0f} s in all")

    assert len(fell) == 20
    assert {"train", "infer", "crf"} <= set(fell)
    for name in MADE:
        digest = sha256_tree(killed.folder / name)
        print(f"{size}: {name}: sha256 {digest}")
        assert digest == sha256_tree(sound.folder / name), name
    assert "Traceback" not in killed.folder.with_name("killed.txt").read_text()
    for folder in ("data", "results"):
        assert not list((killed.folder / folder).rglob(".*.partial"))
    assert killed.rules(TABLE) == []
