"""Does everything behind a table still be what it was: each file's hash against the receipts."""

import csv
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from unia.errors import UserError
from unia.files import content, names, sha256
from unia.progress import track
from unia.tracking.receipt import PREDICTIONS, Receipt, files_of, made_hash
from unia.tracking.record import git_state, has_commit, lock
from unia.tracking.trace import SHORT, Chain, code, name_of

CARD = ".card.json"  # lies beside the table of each split
DATASET = "dataset.json"  # a folder with it is a prepared dataset: its tables hold hashes of images and masks

Expected = dict[tuple[Path, str], str]
"""(file, its sha256) -> the step that says so."""


class Kind(IntEnum):
    """What was found; the value is the exit code, and the smallest above 0 wins."""

    NOTE = 0
    CHANGED = 3
    MISSING = 4
    DIRTY = 5
    LOCK = 6


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was: of which kind, which file or step, and how."""

    kind: Kind
    what: str
    how: str


def verify(chain: Chain) -> tuple[list[Finding], int]:
    """(what is not as it was, how many files were hashed). Each file is read once."""
    found = [
        Finding(Kind.CHANGED if path.exists() else Kind.MISSING, str(path), "the receipt of a step")
        for path in chain.broken
    ]
    expected: Expected = {}
    for step in chain.steps.values():
        found += _outputs(step, expected)
        found += _inputs(step, chain, expected)
        found += _together(step, chain)
    sums: dict[Path, str | None] = {}
    _hash(expected, sums)
    for step in chain.steps.values():
        expected |= _samples(step, sums)
    _hash(expected, sums)
    found += _compare(expected, sums)
    found += _code(chain)
    found += _environment(chain)
    return sorted(set(found), key=lambda finding: (finding.kind or 9, finding.what)), len(sums)


def exit_code(findings: list[Finding]) -> int:
    """0 where nothing but notes was found."""
    return min((int(finding.kind) for finding in findings if finding.kind), default=0)


def _outputs(step: Receipt, expected: Expected) -> Iterator[Finding]:
    """Expect every file that a step wrote or found; find files that came later."""
    for entry in [*step["outputs"].values(), *step["sources"].values()]:
        path = Path(entry["path"])
        try:
            files = files_of(entry)
        except UserError:
            listed = Path(entry["files"])
            kind = Kind.CHANGED if listed.exists() else Kind.MISSING
            yield Finding(kind, str(listed), f"the list of the files of {path}")
            continue
        if files is None:
            expected[path, entry["sha256"]] = name_of(step)
        elif not path.is_dir():
            yield Finding(Kind.MISSING, str(path), f"the folder of {name_of(step)}")
        else:
            expected |= {(path / name, digest): name_of(step) for name, digest in files.items()}
            for name in set(names(path)) - set(files):
                yield Finding(Kind.CHANGED, str(path / name), f"was not there after {name_of(step)}")


def _inputs(step: Receipt, chain: Chain, expected: Expected) -> Iterator[Finding]:
    """Find inputs that the step which makes them has written again since; expect files that no step makes."""
    for used in step["inputs"].values():
        path = Path(used["path"])
        if used["receipt"] is None:
            if path.is_dir() and content(path).sha256 != used["sha256"]:
                yield Finding(Kind.CHANGED, str(path), f"the folder is not as {name_of(step)} used it")
            elif not path.is_dir() and used["sha256"] is not None:
                expected[path, used["sha256"]] = name_of(step)
            continue
        maker = chain.steps.get(Path(used["receipt"]["path"]))
        if maker is None:
            continue
        try:
            made = made_hash(maker, path)
        except UserError:  # its list of files is found by _outputs
            continue
        if made != used["sha256"]:
            yield Finding(
                Kind.CHANGED, str(path), f"{name_of(maker)} made it anew after {name_of(step)} used it"
            )
        elif maker["sha256"] != used["receipt"]["sha256"]:
            how = f"written again after {name_of(step)} used what it tells of; the content is the same"
            yield Finding(Kind.NOTE, used["receipt"]["path"], how)


def _together(step: Receipt, chain: Chain) -> Iterator[Finding]:
    """Were what a step used, and what its other inputs were made of, the same predictions?"""
    used = step["inputs"].get(PREDICTIONS)
    for entry in step["inputs"].values() if used else ():
        maker = chain.steps.get(Path(entry["receipt"]["path"])) if entry["receipt"] else None
        others = maker["inputs"].get(PREDICTIONS) if maker else None
        if others and others["sha256"] != used["sha256"]:
            how = f"{name_of(step)} used it beside {used['path']}, and it was made of others"
            yield Finding(Kind.CHANGED, entry["path"], how)


def _samples(step: Receipt, sums: Mapping[Path, str | None]) -> Expected:
    """The images and masks of a prepared dataset, from those of its tables that are as they were."""
    expected: Expected = {}
    for entry in step["outputs"].values():
        try:
            files = files_of(entry) or {}
        except UserError:
            continue
        splits = [name.removesuffix(CARD) for name in files if DATASET in files and name.endswith(CARD)]
        tables = [f"{split}.csv" for split in splits]
        for table in tables:
            path = Path(entry["path"]) / table
            if sums.get(path) != files[table]:
                continue
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    expected[Path(row["image"]), row["image_sha256"]] = name_of(step)
                    if row["mask"]:
                        expected[Path(row["mask"]), row["mask_sha256"]] = name_of(step)
    return expected


def _hash(expected: Expected, sums: dict[Path, str | None]) -> None:
    """Add to `sums` the hash of each expected file that it lacks; None for what is missing."""
    paths = list(dict.fromkeys(path for path, _ in expected if path not in sums))
    with ThreadPoolExecutor() as pool:
        found = track(pool.map(_sha256, paths), "verify", len(paths))
        sums.update(zip(paths, found, strict=True))


def _sha256(path: Path) -> str | None:
    try:
        return sha256(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _compare(expected: Expected, sums: Mapping[Path, str | None]) -> Iterator[Finding]:
    told = set()
    for (path, digest), step in expected.items():
        now = sums[path]
        if now == digest or path in told:
            continue
        told.add(path)
        if now is None:
            yield Finding(Kind.MISSING, str(path), f"of {step}")
        else:
            how = f"{digest[:SHORT]} by the receipt of {step}, now {now[:SHORT]}"
            yield Finding(Kind.CHANGED, str(path), how)


def _code(chain: Chain) -> Iterator[Finding]:
    present = git_state()["commit"]
    for step in chain.steps.values():
        git = step["git"]
        if git["commit"] is None:
            yield Finding(Kind.DIRTY, name_of(step), "made by code that no commit is known of")
        elif git["dirty"]:
            how = f"made by {code(step)} that no commit holds (sha256 {git['diff'][:SHORT]})"
            yield Finding(Kind.DIRTY, name_of(step), how)
        elif git["commit"] != present:
            now = present[:SHORT] if present else "unknown"
            now += "" if has_commit(git["commit"]) else "; this repository lacks the former"
            yield Finding(Kind.NOTE, name_of(step), f"made by {code(step)}, the present one is {now}")


def _environment(chain: Chain) -> Iterator[Finding]:
    present = lock()
    for step in chain.steps.values():
        made = step["environment"]["lock"]
        if made != present:
            how = f"made with the lock file {str(made)[:SHORT]}, the present one is {str(present)[:SHORT]}"
            yield Finding(Kind.LOCK, name_of(step), how)
