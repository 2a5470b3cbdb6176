"""`unia prepare`: raw data, checked, in the common form that every later step reads."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from unia.data.card import card
from unia.data.checks import Checked, Duplicate, check
from unia.data.kinds import KINDS
from unia.data.notes import DISAGREEMENTS, DUPLICATES, notes
from unia.data.samples import Problem, write_dataset
from unia.errors import UserError
from unia.files import atomic, read_json, write_json
from unia.progress import say
from unia.recipe import Data

SHOWN = 20  # problems told at once
PROBLEMS = "problems.csv"


def prepare(dataset: str, data: Data, raw: Path, out: Path) -> None:
    """Read what `raw` (of `unia download`) describes and write the folder `out`.

    Raises UserError naming every unreadable, misshapen or missing file, all of them at once; the complete
    list is then in `out`.problems.csv. With `problems: leave_out` such samples are left out instead and
    listed in `out`/problems.csv; what concerns a split as a whole still stops. What is no problem but should
    be known (`unia.data.notes`) is told.
    """
    about = read_json(raw)
    if about["kind"] != data.kind:
        raise UserError(f"{raw}: is of kind {about['kind']}, not {data.kind}; run the download step again")
    roots = [Path(root) for root in about["roots"]]
    for root in roots:
        if not root.exists():
            raise UserError(f"{root}: is gone since it was downloaded; delete {raw} and run the step again")
    with atomic(out) as folder:
        folder.mkdir()
        found = KINDS[data.kind].read(data, roots, folder, out)
        checked = check(
            found,
            lambda p: folder / p.relative_to(out) if p.is_relative_to(out) else p,
            refuse_duplicates=data.duplicates == "refuse",
        )
        _settle(dataset, data, checked.problems, out)
        usable = replace(found, splits=checked.splits)
        write_dataset(folder, dataset, data.kind, usable, _checksums(checked))
        for split in checked.splits:
            about_split = card(dataset, split, usable, checked, folder / f"{split}.csv")
            write_json(folder / f"{split}.card.json", about_split)
        _write_disagreements(folder / DISAGREEMENTS, checked, found.classes)
        if checked.duplicates:
            _write_duplicates(folder / DUPLICATES, checked.duplicates)
        if checked.problems:
            _write_problems(folder / PROBLEMS, checked.problems)
    _beside(out).unlink(missing_ok=True)
    counts = ", ".join(f"{len(samples)} {split}" for split, samples in checked.splits.items())
    say(f"prepare {dataset}: {counts}, {len(found.classes)} classes")
    for note in notes(found, checked, out):
        say(f"prepare {dataset}: {note}")
    if checked.problems:
        say(f"prepare {dataset}: left out for {_count(checked.problems)}, see {out / PROBLEMS}")


def _settle(dataset: str, data: Data, problems: Sequence[Problem], out: Path) -> None:
    """Stop at problems, unless the samples that have them may be left out."""
    whole = [problem for problem in problems if not problem.name]
    wrong = problems if data.problems == "stop" else whole
    if not wrong:
        return
    _write_problems(_beside(out), problems)
    more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    told = "; ".join(map(str, wrong[:SHOWN]))
    advice = "" if whole else f", or set datasets.{dataset}.data.problems: leave_out"
    raise UserError(
        f"{dataset}: {_count(wrong)}: {told}{more}. All are in {_beside(out)}; mend the files{advice}"
    )


def _count(problems: Sequence[Problem]) -> str:
    return f"{len(problems)} problem" + "s" * (len(problems) > 1)


def _beside(out: Path) -> Path:
    """Where problems are listed if there is no prepared folder to hold them."""
    return out.with_name(f"{out.name}.{PROBLEMS}")


def _write_problems(path: Path, problems: Sequence[Problem]) -> None:
    rows = ((p.split, p.name, p.file, p.reason) for p in problems)
    _write_csv(path, ("split", "name", "file", "reason"), rows)


def _write_disagreements(path: Path, checked: Checked, classes: Sequence[str]) -> None:
    rows = (
        (split, d.name, classes[d.number - 1], "label" if d.labelled else "mask")
        for split, found in checked.disagreements.items()
        for d in found
    )
    _write_csv(path, ("split", "name", "class", "only_in"), rows)


def _write_duplicates(path: Path, duplicates: Sequence[Duplicate]) -> None:
    rows = (
        (d.split, d.sample.name, d.sample.image, d.other_split, d.other.name, d.other.image)
        for d in duplicates
    )
    _write_csv(path, ("split", "name", "file", "other_split", "other_name", "other_file"), rows)


def _write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(head)
        table.writerows(rows)


def _checksums(checked: Checked) -> Mapping[Path, str]:
    """The sha256 of every file of the samples."""
    sums: dict[Path, str] = {}
    for split, samples in checked.splits.items():
        for sample, seen in zip(samples, checked.seen[split], strict=True):
            sums[sample.image] = seen.image_sha256
            if sample.mask is not None and seen.mask_sha256 is not None:
                sums[sample.mask] = seen.mask_sha256
    return sums
