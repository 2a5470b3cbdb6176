"""What a dataset's source holds at present, as a small file: an input, so that a change is noticed.

A corrected label or another image changes neither the parameters nor any file that a step wrote. So this
file is an input of `unia download` in both tools, and one like it, of the file of weights, is an input of
`unia train`. Snakemake looks at the source whenever it builds its graph, DVC by a stage that always runs,
`unia sync` before it compares.
"""

from collections.abc import Callable
from pathlib import Path

from unia.data.archives import SUFFIXES, is_archive
from unia.errors import UserError
from unia.files import read_json, walk, write_json
from unia.identity import of_files
from unia.progress import say
from unia.recipe import Data, Model


def source_file(dataset: str) -> Path:
    """Where it is written down what a dataset's source holds."""
    return Path("data/raw") / f"{dataset}.source.json"


def weights_state(run: str) -> Path:
    """Where it is written down what the file of weights is that a run starts from."""
    return Path("results") / run / "weights.json"


def look(dataset: str, data: Data, out: Path) -> None:
    """Write to `out` which source a dataset has, and a hash of its files' names, sizes and times.

    Where that is what `out` says already, it is not written, so that its own time is that of the last change.
    UserError for a source that is missing, empty or cannot be read; but where an earlier look saw one, whose
    disk may be away now, its record stays, with a warning.
    """
    _look(data.source, lambda: source_of(dataset, data), out)


def look_at_weights(run: str, model: Model, out: Path) -> None:
    """As `look`, for the file of weights that a run starts from."""
    path = model.weights_file
    _look(None if path is None else str(path), lambda: weights_of(run, model), out)


def _look(named: str | None, find: Callable[[], Path | None], out: Path) -> None:
    known = read_json(out) if out.exists() else None
    try:
        found = find()
        seen = {"source": named, "sha256": None if found is None else _state(found)}
    except UserError as error:
        if known is None or known["source"] != named:
            raise
        say(f"warning: {error}; what was made of it is taken to be up to date")
        return
    if seen != known:
        write_json(out, seen)


def weights_of(run: str, model: Model) -> Path | None:
    """The file that `model.weights` names; None for timm's own, and for none. UserError if it is missing."""
    path = model.weights_file
    if path is not None and not path.is_file():
        raise UserError(f"{run}: model.weights: {path} does not exist")
    return path


def source_of(dataset: str, data: Data) -> Path | None:
    """The folder or archive that `data.source` names; None for data that is generated or downloaded.

    UserError where it is missing, holds no file, or is neither folder nor archive.
    """
    if data.source is None:
        return None
    key, source = f"datasets.{dataset}.data.source", Path(data.source)
    if not source.exists():
        raise UserError(f"{key}: {source} does not exist")
    if not source.is_dir() and not is_archive(source):
        raise UserError(f"{key}: {source} is neither a folder nor an archive ({', '.join(SUFFIXES)})")
    if source.is_dir() and not any(walk(source)):
        raise UserError(f"{key}: {source} holds no file")
    return source


def _state(source: Path) -> str:
    try:
        return of_files(source)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from None
