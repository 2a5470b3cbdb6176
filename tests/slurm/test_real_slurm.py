"""A real Slurm on this machine ends jobs before their time: the table is that of an undisturbed run.

`make slurm` runs this. It needs root, Debian's packages slurm-wlm, munge, slurmdbd and mariadb-server, and a
script that starts them on loopback. `-s` prints what a user reads.
"""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import pytest
from computed import once
from project import ROOT, TABLE, Project

pytest_plugins = "computed"
pytestmark = [pytest.mark.slow, pytest.mark.faults]

SCRIPT = ROOT.parent / "shared/infra/slurm.sh"
CONFIGURATION = Path("/etc/slurm/slurm.conf")
SUBMIT = ("snakemake", "--profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "1")
ITERATIONS = 300
PATIENCE = 900  # seconds after which something is waited for in vain

StartSlurm = Callable[..., None]


@pytest.fixture
def start_slurm() -> Iterator[StartSlurm]:
    """start_slurm(PREEMPT="CANCEL", ...): a Slurm with these settings of the script, until the test ends."""
    if not SCRIPT.exists() or os.geteuid() != 0:
        pytest.skip("needs root, and ../shared/infra/slurm.sh, which starts a Slurm on loopback")
    if not Path("/usr/sbin/slurmctld").exists():
        pytest.skip(f"needs Slurm's programs: {SCRIPT} install")
    if CONFIGURATION.exists() and "ClusterName=unia\n" not in CONFIGURATION.read_text():
        pytest.skip(f"this machine has a Slurm of its own: {CONFIGURATION}")
    with ExitStack() as stack:
        state = Path(stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True)))
        state.chmod(0o755)  # not pytest's folder, which the database's own user may not enter

        def start(**settings: str) -> None:
            # The node claims more than the machine has, since the rules ask for what large nodes have.
            claimed = {"OVERRIDE": "1", "CPUS": "16", "MEM": "64000", "ROOT": str(state)}
            environment = os.environ | claimed | settings
            stack.callback(lambda: subprocess.run(["bash", SCRIPT, "stop"], env=environment, check=True))
            subprocess.run(["bash", SCRIPT, "start"], env=environment, check=True, stdin=subprocess.DEVNULL)

        yield start


@pytest.fixture(scope="session")
def sound(by_snakemake: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The longer training and its table, without Slurm."""

    def make(folder: Path) -> None:
        longer(by_snakemake.copy(folder)).ok("snakemake", "--cores", "all", TABLE)

    return Project.there(once(tmp_path_factory, "sound", make))


@pytest.fixture
def project(by_snakemake: Project, tmp_path: Path) -> Project:
    """Finished results of a short training, and parameters that now ask for a longer one."""
    return longer(by_snakemake.copy(tmp_path / "project"))


def longer(project: Project, iterations: int = ITERATIONS) -> Project:
    project.set(f"small.train.iterations={iterations}", "small.train.log_every=5")
    project.commit()
    return project


def training_log(project: Project) -> str:
    log = project.folder / "logs/shapes/train.log"
    return log.read_text() if log.exists() else ""


class Submitted:
    """Snakemake at work in a project, its jobs in Slurm; it is ended with the block."""

    def __init__(self, project: Project, *options: str):
        self.project, self.said = project, project.folder.parent / "snakemake.out"
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [*SUBMIT, *options, "--", TABLE], cwd=project.folder, env=project.environment,
                stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()

    def training(self) -> str:
        """Wait until the job that trains has come some way; its number in Slurm."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            assert self.process.poll() is None, self.said.read_text()
            running = ["squeue", "--noheader", "--states=R", "--format=%i %k"]
            job = re.search(r"^(\d+) rule_train", subprocess.check_output(running, text=True), re.MULTILINE)
            if job and f"/{ITERATIONS}, " in training_log(self.project):
                return job[1]
            time.sleep(0.5)
        raise TimeoutError(self.said.read_text())

    def ended(self, code: int = 0) -> str:
        """What Snakemake said until it ended with this exit code."""
        self.process.wait(PATIENCE)
        said = self.said.read_text()
        print(said)
        assert self.process.returncode == code, said
        return said


def same_table(project: Project, sound: Project) -> None:
    assert (project.folder / TABLE).read_bytes() == (sound.folder / TABLE).read_bytes()
    project.ok("unia", "trace", TABLE, "--verify")


@pytest.mark.parametrize("accounting", ["1", "0"])
def test_scancel(start_slurm: StartSlurm, project: Project, sound: Project, accounting: str) -> None:
    start_slurm(DBD=accounting)
    with Submitted(project) as submitted:
        subprocess.run(["scancel", submitted.training()], check=True)
        said = submitted.ended()
    assert "SLURM status is: 'CANCELLED'" in said
    assert "Trying to restart job" in said
    same_table(project, sound)
    assert "goes on from iteration" in training_log(project)


@pytest.mark.parametrize(
    ("mode", "grace", "status"),
    [("CANCEL", "0", "CANCELLED"), ("CANCEL", "30", "FAILED"), ("REQUEUE", "0", None)],
)
def test_preemption(
    start_slurm: StartSlurm, project: Project, sound: Project, mode: str, grace: str, status: str | None
) -> None:
    start_slurm(PREEMPT=mode, GRACE=grace)
    whole_node = ("--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    low = ("--default-resources", "slurm_partition=low", "mem_mb=4000", "runtime=60")
    with Submitted(project, *low) as submitted:
        submitted.training()
        subprocess.run(["sbatch", *whole_node], check=True)
        said = submitted.ended()
    statuses = re.findall(r"SLURM status is: '(\w+)'", said)
    assert statuses == [status] * (status is not None)  # Slurm itself starts again what it requeues
    same_table(project, sound)
    assert "goes on from iteration" in training_log(project)


@pytest.mark.parametrize("accounting", ["1", "0"])
def test_a_time_limit_too_short_twice(
    start_slurm: StartSlurm, project: Project, sound: Project, accounting: str
) -> None:
    start_slurm(DBD=accounting)
    [(minutes, seconds)] = re.findall(rf"{ITERATIONS}/{ITERATIONS}, (\d+):(\d+) spent", training_log(sound))
    # For some 200 seconds: Slurm's shortest limit is a minute, and it may let another half pass.
    longer(project, ITERATIONS * 200 // (60 * int(minutes) + int(seconds)))
    with Submitted(project, "--set-resources", "train:runtime=1") as submitted:
        said = submitted.ended()
    assert said.count("SLURM status is: 'TIMEOUT'") >= 2
    stopped = set(re.findall(r"stopped by SIGTERM at iteration (\d+) of", said))
    assert len(stopped) >= 2
    logs = said + training_log(project)  # of the tries that failed, and of the last
    assert all(f"goes on from iteration {at}," in logs for at in stopped)
    project.ok("unia", "trace", TABLE, "--verify")


def test_two_nodes_of_one_gpu_each(start_slurm: StartSlurm, project: Project, sound: Project) -> None:
    start_slurm(NODES="2")
    with Submitted(project, "--set-resources", "train:gpu=2") as two_gpus:
        assert "Requested node configuration is not available" in two_gpus.ended(code=1)
    with Submitted(project, "--set-scatter", "infer=2", "crf=2") as parts:
        parts.ended()
    same_table(project, sound)
    nodes = subprocess.check_output(["sacct", "--allocations", "--noheader", "--format=NodeList"], text=True)
    assert set(nodes.split()) >= {"n1", "n2"}
