"""What every benchmark does with its figures: a table, JSON, and with `--save` a line of results.jsonl.

The table goes to stderr, the JSON to stdout. Each line of `benchmarks/results.jsonl`, which git tracks, holds
what was run, when, at which commit and on what machine, and its rows.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from unia.parallel import cores

RESULTS = Path(__file__).with_name("results.jsonl")
OUT = Path(__file__).with_name("out")  # figures and curves; not tracked
BF16_PEAK = {"H100": 989e12, "H200": 989e12}  # dense operations a second, of the data sheets

Row = Mapping[str, Any]


def arguments(about: str | None) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true", help="append the figures to benchmarks/results.jsonl")
    return parser


def publish(name: str, rows: Sequence[Row], save: bool) -> None:
    """Show the rows of the benchmark `name` as tables and as JSON; `save` them too.

    Rows that follow each other with the same first column are a table.
    """
    for _, alike in groupby(rows, lambda row: next(iter(row))):
        Console(stderr=True).print(_table(name, list(alike)))
    entry = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "command": " ".join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]]),
        "machine": machine(),
        "rows": [dict(row) for row in rows],
    }
    print("[" + ",\n ".join(json.dumps(dict(row)) for row in rows) + "]")
    if save:
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def machine() -> dict[str, Any]:
    """The kind of machine: its GPU or CPU, how many cores may be used, the version of torch."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {"gpu": gpu, "cpu": _cpu(), "cores": cores(), "torch": torch.__version__}


def timed(action: Callable[[], object], device: torch.device, repeats: int = 1) -> float:
    """Mean seconds of an action."""
    synchronise(device)
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    synchronise(device)
    return (time.perf_counter() - start) / repeats


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def operations(action: Callable[[], object]) -> float:
    """The floating point operations of an action's matrix products, convolutions and attention."""
    # Plain attention: the counter knows no fused kernel of the CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        action()
    return float(counter.get_total_flops())


def peak(device: torch.device) -> float | None:
    """Operations a second at best: of a known GPU in bf16; of a CPU, as a float32 matrix product reaches."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return next((value for key, value in BF16_PEAK.items() if key in name), None)
    matrix = torch.rand(2048, 2048)
    timed(lambda: matrix @ matrix, device)
    return 2 * 2048**3 / timed(lambda: matrix @ matrix, device, repeats=3)


def share(count: float, seconds: float, device: torch.device) -> float | None:
    """The share of the device's peak that `count` operations in `seconds` are."""
    best = peak(device)
    return None if best is None else round(count / seconds / best, 3)


def _table(title: str, rows: Sequence[Row]) -> Table:
    """A line for each row, or for each column where there are more of those."""
    columns = dict.fromkeys(key for row in rows for key in row)
    lines = [[column, *(_cell(row.get(column)) for row in rows)] for column in columns]
    if len(rows) >= len(columns):
        lines = [list(line) for line in zip(*lines, strict=True)]
    header, *rest = lines
    table = Table(*header, title=title)
    for line in rest:
        table.add_row(*line)
    return table


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return "" if value is None else str(value)


def _commit() -> str | None:
    """The commit that runs, with a + where tracked files other than the results differ from it."""
    git = ["git", "-C", str(RESULTS.parent)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        return None
    others = [":/", f":(exclude){RESULTS.name}"]
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", *others], check=False).returncode
    return head.stdout.strip() + ("+" if changed else "")


def _cpu() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
