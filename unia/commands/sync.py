"""One working copy, two tools: each learns what the other has computed."""

from enum import StrEnum
from typing import Annotated

import typer

from unia.progress import say

app = typer.Typer()


class Tool(StrEnum):
    """The tools that follow the pipeline."""

    dvc = "dvc"
    snakemake = "snakemake"


@app.command()
def sync(
    to: Annotated[Tool, typer.Option("--to", help="Which tool learns what the other has computed.")],
) -> None:
    """After `snakemake`: --to dvc. After `dvc repro`, `checkout` or `pull`: --to snakemake.

    Refuses where the tool that computed would still run something. All datasets of `run` in params.yaml
    are considered, each as far as its outputs exist.
    """
    from unia.steps.sync import to_dvc, to_snakemake

    stages = to_dvc() if to is Tool.dvc else to_snakemake()
    say(f"sync: {to} now knows of {', '.join(stages)}" if stages else f"sync: {to} knows of everything")
