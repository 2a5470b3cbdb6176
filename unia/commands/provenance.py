"""Where a number comes from, whether all of it is still there, and how to make it again."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unia.commands.options import vacant
from unia.errors import UserError

if TYPE_CHECKING:
    from unia.tracking.trace import Chain

app = typer.Typer()

SHOWN = 50  # findings of a kind that are printed

Table = Annotated[Path, typer.Argument(help="A table of `unia table`, or anything else that a step wrote.")]
Row = Annotated[str | None, typer.Option("--row", help="A row of the table, for instance seg_ms_crf.")]


@app.command()
def trace(
    table: Table,
    row: Row = None,
    check: Annotated[bool, typer.Option("--verify", help="Hash everything again.")] = False,
    again: Annotated[bool, typer.Option("--rerun", help="Print the commands that make it again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipts, in the steps' order.")] = False,
) -> None:
    """Show what a number was made of: from the table, step by step, to the data it began with.

    --verify names what is not as it was. Its exit code tells the first of these that holds: 3, a file, list
    or receipt has changed; 4, one is missing; 5, a step ran code that no commit holds; 6, a step had another
    lock file than the present one; 0, none of them. That there are later commits is only noted. Exit code 1:
    there is no trace to follow.
    """
    from unia.tracking.trace import check_made, follow, number

    if check + again + as_json > 1:
        raise typer.BadParameter("--verify, --rerun and --json exclude each other")
    chain = follow(table, row)
    if check:
        _verify(chain)
        return
    check_made(table)
    if again or as_json:
        if chain.broken:
            raise UserError("; ".join(chain.broken.values()))
        _print(_again(chain) if again else [json.dumps(list(chain.steps.values()), ensure_ascii=False)])
        return
    _show(chain, f"{table}  {number(table, row)}" if table.suffix == ".csv" else str(table))


@app.command()
def crate(
    table: Table,
    out: Annotated[Path, typer.Argument(help="The new zip file to write.", callback=vacant)],
) -> None:
    """Pack a table and its provenance as an RO-Crate (Provenance Run Crate 0.5).

    It holds the table, the receipts of the steps, the workflow and its parameters; data and model are only
    referred to, by path, hash and licence.
    """
    from unia.progress import say
    from unia.tracking.crate import write_crate
    from unia.tracking.trace import follow

    write_crate(follow(table), out)
    say(f"crate: {out}, {out.stat().st_size / 1e6:.1f} MB")


def _show(chain: "Chain", heading: str) -> None:
    from unia.commands.screen import screen
    from unia.tracking.trace import facts, tree

    console = screen()
    console.print(tree(chain, heading))
    for fact in facts(chain):
        console.print(fact, markup=False)
    if chain.broken:
        raise UserError("; ".join(chain.broken.values()))


def _verify(chain: "Chain") -> None:
    from unia.tracking.verify import exit_code, verify

    findings, files = verify(chain)
    counts = Counter(finding.kind for finding in findings)
    for kind, count in counts.items():
        shown = [finding for finding in findings if finding.kind == kind][:SHOWN]
        _print([f"{kind.name.lower():8} {finding.what}: {finding.how}" for finding in shown])
        if count > SHOWN:
            _print([f"{kind.name.lower():8} ... and {count - SHOWN} more"])
    told = ", ".join(f"{count} {kind.name.lower()}" for kind, count in counts.items()) or "all as it was"
    _print([f"{len(chain.steps)} steps, {files} files: {told}"])
    raise typer.Exit(exit_code(findings))


def _again(chain: "Chain") -> list[str]:
    from unia.tracking.rerun import rerun

    return list(rerun(chain))


def _print(lines: Sequence[str]) -> None:
    for line in lines:
        typer.echo(line)
