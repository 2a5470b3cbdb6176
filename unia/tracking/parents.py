"""The MLflow runs that steps lie below: one for each recipe, and one for each ablation above its variants."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from unia.tracking.record import flatten

PARAM = 6000  # the longest text of a parameter that MLflow takes


@dataclass(frozen=True)
class Parent:
    """A run that others lie below: found again by its name and tags, or made with `params`."""

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, Any]


def lineage(name: str, size: str, recipe: Mapping[str, Any], ablation: bool = False) -> list[Parent]:
    """The runs that a step of the run `name` lies below, outermost first.

    `shapes` is one run, `shapes full`; of `shapes/no_energy/1` the run `no_energy, seed 1` lies below
    `shapes ablation`, as the table of an `ablation` does. Another recipe is another run.
    """
    dataset, *variant = name.split("/")
    tags = {"unia.dataset": dataset, "unia.size": size}
    whole = Parent(f"{dataset} ablation", tags | {"unia.ablation": dataset}, {})
    digest = sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
    tags = tags | {"unia.run": name, "unia.recipe": digest}
    if ablation:
        return [whole]
    if not variant:
        return [Parent(f"{dataset} {size}", tags, recipe)]
    tags = tags | {"unia.variant": variant[0], "unia.seed": variant[1]}
    return [whole, Parent(f"{variant[0]}, seed {variant[1]}", tags, recipe)]


def parent_run(client: Any, experiment: str, parent: Parent, above: str | None) -> str:
    """The id of a parent run below the run `above`; made, and ended, the first time."""
    wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in parent.tags.items())
    wanted += f" and tags.`mlflow.runName` = '{parent.name}'"

    def oldest() -> str | None:
        found = client.search_runs(
            [experiment], wanted, max_results=1, order_by=["attributes.start_time ASC"]
        )
        return str(found[0].info.run_id) if found else None

    known = oldest()
    if known is not None:
        return known
    from mlflow.entities import Param
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

    tags = dict(parent.tags) | ({} if above is None else {MLFLOW_PARENT_RUN_ID: above})
    made = str(client.create_run(experiment, tags=tags, run_name=parent.name).info.run_id)
    params = [Param(key, str(value)[:PARAM]) for key, value in flatten(parent.params).items()]
    client.log_batch(made, params=params, synchronous=True)
    client.set_terminated(made)
    first = oldest() or made
    if first != made:  # another step made it at the same time: both keep the older one
        client.delete_run(made)
    return first
