"""`unia download`: a dataset's raw data, fetched, generated or found, and a file that says what it is."""

from pathlib import Path

from unia.data.archives import is_archive, unpack
from unia.data.kinds import KINDS
from unia.data.origins import UNPACKED
from unia.files import Content, content, write_json
from unia.progress import say
from unia.recipe import Data
from unia.steps.source import source_of


def download(dataset: str, data: Data, out: Path) -> list[Content]:
    """Write `out`: kind, folders that hold the raw data, and the sha256 of what they came from; return that.

    Generated or unpacked data goes into the folder `out` without `.json`; folders are used in place.
    Raises UserError where the source is missing or cannot be fetched.
    """
    folder = out.with_suffix("")
    key = f"datasets.{dataset}.data.source"
    origins = KINDS[data.kind].origins(key, data, source_of(dataset, data), folder)
    say(f"download {dataset}: hashing {', '.join(map(str, origins))}")
    sources = [content(path) for path in origins]
    archives = {source.path: str(source.sha256) for source in sources if is_archive(source.path)}
    roots = [path for path in origins if path not in archives]  # they come first: people see them
    roots += [unpack(archives, folder / UNPACKED)] if archives else []
    document = {
        "dataset": dataset,
        "kind": data.kind,
        "roots": [str(root) for root in roots],
        "sources": [{"path": str(source.path), "sha256": source.sha256} for source in sources],
    }
    write_json(out, document)
    return sources
