# Shared by all: the validated parameters, and how overrides of `--config` reach the commands.

import hashlib
import os
import shlex
import sys
from functools import cache
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.jobs import Job
from snakemake.persistence import PersistenceBase

sys.path.append(
    workflow.basedir
)  # where unia is installed in the environments of the rules alone (conda)

from unia.config import dataset_of, load
from unia.errors import UserError
from unia.files import atomic
from unia.layers import settings_between
from unia.pipeline import STEPS, behind
from unia.steps.source import look, look_at_weights, source_file, weights_state
from unia.tracking.outdated import known_hash, outdated
from unia.tracking.owned import check_added, check_weights, keep_full


def typed(value, written=None):
    """`value` with nested texts read as YAML: Snakemake passes values that `--config` changes in a mapping as text."""
    if value == written or not isinstance(value, (dict, list, str)):
        return value
    if isinstance(value, dict):
        below = written if isinstance(written, dict) else {}
        return {key: typed(value[key], below.get(key)) for key in value}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return yaml.safe_load(value)


def as_read(path):
    """A copy of params.yaml, which the steps read: an edit of the file while they run is for the next run."""
    text = path.read_bytes()
    copy = (
        Path(".snakemake/unia") / f"params-{hashlib.sha256(text).hexdigest()[:12]}.yaml"
    )
    if not copy.exists() or copy.read_bytes() != text:
        with atomic(copy) as temporary:
            temporary.write_bytes(text)
    return copy


try:
    READ = Path(os.environ.get("UNIA_PARAMS", "params.yaml"))
    WRITTEN = yaml.safe_load(READ.read_text(encoding="utf-8"))
    CHANGED = settings_between(WRITTEN, typed(config, WRITTEN))
    SETTINGS = [*os.environ.get("UNIA_SET", "").splitlines(), *CHANGED]
    PARAMS = load(READ, SETTINGS)
    os.environ.update(UNIA_PARAMS=str(as_read(READ)))
except UserError as error:
    raise WorkflowError(str(error))

if SETTINGS:
    ASSIGNED = shlex.quote("\n".join(SETTINGS)).replace("{", "{{").replace("}", "}}")
    STRICT = "set -euo pipefail; "  # Snakemake's own prefix, which this one takes the place of
    shell.prefix(f"{STRICT}export UNIA_SET={ASSIGNED}; ")


# Before the machine's own squeue: what Snakemake reads of preempted jobs. And a random.py of the user's, in this
# folder, is none of Python's: Snakemake starts itself there again for a job of a cluster.
SLURM = f"{workflow.basedir}/workflow/slurm"
os.environ.update(
    PATH=os.pathsep.join([SLURM, *os.get_exec_path()]), PYTHONSAFEPATH="1"
)


def told(function, *arguments):
    """What a function returns; its UserError as one line that ends all: any other exception would be told with
    Snakemake's own traceback.
    """
    try:
        return function(*arguments)
    except UserError as error:
        raise SystemExit(f"unia: {error}")


def recipe_of(run):
    """A run's parameters."""
    return told(PARAMS.recipe, run)


def parameters(run, step):
    """All that the result of `step` depends on, in `run`: the sections of params.yaml that it and the steps before it
    read. Were it the step's own alone, a step before it that fails would leave an old result standing as up to date.
    """
    return {
        name: getattr(recipe_of(run), name).model_dump(mode="json")
        for name in behind(step)
    }


def sections(step):
    """The parameters that each rule declares, so that it runs again where one of them changes."""
    return lambda wildcards: parameters(run_of(wildcards), step)


def run_of(wildcards):
    """The run that a job belongs to: a training, or its dataset's own."""
    return getattr(wildcards, "run", None) or wildcards.dataset


@cache
def looked_at(dataset):
    """What a dataset's source holds: looked at now, since no step makes it. Ends all where there is no source: any
    other exception would be told with Snakemake's own traceback.
    """
    try:
        look(dataset, recipe_of(dataset).data, source_file(dataset))
    except UserError as error:
        raise SystemExit(f"unia: {error}")
    return known(source_file(dataset))


@cache
def weights(run):
    """The same of the file of weights that a run starts from; nothing where it names none."""
    model = recipe_of(run).model
    if model.weights_file is None:
        return []
    try:
        look_at_weights(run, model, weights_state(run))
    except UserError as error:
        raise SystemExit(f"unia: {error}")
    return known(weights_state(run))


def known(path):
    """A file that was written while the graph is built: Snakemake may have listed its folder before."""
    workflow.iocache.exists_local[str(path)] = True
    return str(path)


def prepared(wildcards):
    """The prepared data of a run: its dataset's."""
    return f"data/{dataset_of(wildcards.run)}"


def ablation_runs(wildcards):
    """The runs that the ablation of a dataset compares."""
    runs = PARAMS.ablation_runs()
    return [run for run in runs if dataset_of(run) == wildcards.dataset]


def parts(step):
    """What stands for each part of a step; nothing where the step is not shared out."""
    marked = getattr(gather, step)(
        f"results/{{{{run}}}}/{{{{split}}}}/{step}.{{scatteritem}}"
    )
    return marked if len(marked) > 1 else []


def per_gpu(step, number):
    """So many for each GPU that a step is to have: one, or what `--set-resources train:gpu=2` says."""
    gpu = workflow.resource_settings.overwrite_resources.get(step, {}).get("gpu")
    asked = getattr(gpu, "raw", gpu)  # a number, or an expression
    return number * max(1, asked if isinstance(asked, int) else 1)


def ask(job):
    """Stop, while all old results are there, where a job may not be done, or cannot. Snakemake removes them first."""
    outputs = [Path(file) for file in job.output]
    try:
        if job.rule.name in STEPS:
            keep_full(job.rule.name, PARAMS.size, outputs)
        if job.rule.name == "train":
            check_weights(PARAMS, job.wildcards.run, outputs)
    except UserError as error:
        raise SystemExit(f"unia: {error}")


input_hash = cache(known_hash)  # many jobs share an input


def made_otherwise(job):
    """Whether what lies there was made of other parameters or inputs, as its receipt tells."""
    return job.rule.name in STEPS and outdated(
        job.rule.name,
        recipe_of(run_of(job.wildcards)),
        Path(job.output[0]),
        {Path(file): input_hash(Path(file)) for file in job.input},
    )


CUT_OFF = PersistenceBase.incomplete


async def incomplete(records, job):
    """What Snakemake takes for incomplete, and makes again: files whose making was cut off, and with these lines also
    those of which something behind them is gone, as a failed step leaves it, and those whose receipt tells of other
    parameters. Nobody else asks for the one to be made, and records of the other may be lost.
    """
    ask(job)
    kept = set(job.input) - set(records.dag.temp_input(job))
    if not made_otherwise(job) and all([await file.exists() for file in kept]):
        return await CUT_OFF(records, job)
    return [file for file in job.output if await file.exists()]


PersistenceBase.incomplete = incomplete


REMOVE_OUTPUT = Job.remove_existing_output


async def remove_output(job):
    """Remove what a job will make again, but not with files that its user has put there."""
    try:
        for file in job.output if job.rule.name in STEPS else ():
            check_added(Path(file))
    except UserError as error:
        raise WorkflowError(str(error))
    await REMOVE_OUTPUT(job)


Job.remove_existing_output = remove_output


wildcard_constraints:
    dataset="|".join(PARAMS.datasets),
    run="|".join(PARAMS.runs),  # a dataset, or <dataset>/<variant>/<seed>
    split="train|val|test",
