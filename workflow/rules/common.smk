# Shared by all: the validated parameters, and how overrides of `--config` reach the commands.

import os
import shlex
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from unia.config import dataset_of, load, settings_between
from unia.errors import UserError
from unia.recipe import STEPS


def typed(value, written=None):
    """What `--config` has changed of the values `written` comes as text where it is nested: read what it says."""
    if value == written or not isinstance(value, (dict, list, str)):
        return value
    if isinstance(value, dict):
        below = written if isinstance(written, dict) else {}
        return {key: typed(value[key], below.get(key)) for key in value}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return yaml.safe_load(value)


try:
    WRITTEN = yaml.safe_load(Path("params.yaml").read_text())
    CHANGED = settings_between(WRITTEN, typed(config, WRITTEN))
    SETTINGS = [*os.environ.get("UNIA_SET", "").splitlines(), *CHANGED]
    PARAMS = load(Path("params.yaml"), SETTINGS)
except UserError as error:
    raise WorkflowError(str(error))

if SETTINGS:
    ASSIGNED = shlex.quote("\n".join(SETTINGS)).replace("{", "{{").replace("}", "}}")
    shell.prefix(f"export UNIA_SET={ASSIGNED}; ")


def sections(step):
    """The parameters that `step` reads, so that a change of one of them makes it run again."""
    return lambda wildcards: {
        name: getattr(
            PARAMS.recipe(getattr(wildcards, "run", None) or wildcards.dataset), name
        ).model_dump(mode="json")
        for name in STEPS[step]
    }


def prepared(wildcards):
    """The prepared data of a run: its dataset's."""
    return f"data/{dataset_of(wildcards.run)}"


def parts(step):
    """What stands for each part of a step; nothing where the step is not shared out."""
    marked = getattr(gather, step)(
        f"results/{{{{run}}}}/{{{{split}}}}/{step}.{{scatteritem}}"
    )
    return marked if len(marked) > 1 else []


wildcard_constraints:
    dataset="|".join(name for name in PARAMS.recipes if "/" not in name),
    run="|".join(PARAMS.recipes),  # a dataset, or <dataset>/<variant>/<seed>
    split="train|val|test",
