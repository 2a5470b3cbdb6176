"""Receipts: `<first output>.run.json` says what a step was made of, by hash.

A receipt names, for each input, the receipt of the step that made it, so that they chain from a table to
the data that was downloaded. It ends with the sha256 of all that stands before. Of a folder it holds one
hash, that of the list of its files, which lies beside it as `<first output>.<name>.sha256.gz`, in the form
of `sha256sum`. Receipts hold times: they are nobody's declared output.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from unia.errors import UserError
from unia.files import Content, atomic, content, read_listing, write_text
from unia.system import of_system

Receipt = dict[str, Any]
SUFFIX = ".run.json"
UNLIKE = "is not what its receipt tells of: it was changed, or DVC brought back an earlier one from its cache"
PREDICTIONS = "predictions"  # the input of steps that work on what infer has made


def contents(paths: Mapping[str, Path]) -> dict[str, Content]:
    """name -> what lies at its path."""
    return {name: content(path) for name, path in paths.items()}


def check_together(used: Mapping[str, Content]) -> None:
    """UserError where one of a step's inputs was made of other predictions than those given beside it."""
    if PREDICTIONS not in used:
        return
    given = used[PREDICTIONS]
    for found in used.values():
        maker = _maker(found)
        inputs = read_receipt(Path(maker["path"]))["inputs"] if maker else {}
        others = inputs.get(PREDICTIONS)
        if others is not None and others["sha256"] != given.sha256:
            how = (
                f"is not of {given.path} as it is now"
                if Path(others["path"]) == given.path
                else f"was made of other predictions ({others['path']}) than those in {given.path}"
            )
            raise UserError(f"{found.path}: {how}; make it again")


def write_receipt(
    about: Mapping[str, Any],
    inputs: Mapping[str, Content],
    sources: Iterable[Content],
    outputs: Mapping[str, Content],
) -> Path:
    """Write the receipt of a step that has succeeded, atomically; `about` is all but its files.

    `sources` are what it found by itself: the archives and folders of a download.
    """
    first = next(iter(outputs.values())).path
    named = {"source" if not i else f"source_{i + 1}": source for i, source in enumerate(sources)}
    body = {
        **about,
        "inputs": {name: {**_entry(found), "receipt": _maker(found)} for name, found in inputs.items()},
        "sources": {name: _stored(first, name, found) for name, found in named.items()},
        "outputs": {name: _stored(first, name, found) for name, found in outputs.items()},
    }
    path = beside(first)
    write_text(path, _text({**body, "sha256": _hash(_text(body))}))
    return path


def beside(output: Path) -> Path:
    """Where the receipt of the step with this first output lies."""
    return output.with_name(output.name + SUFFIX)


def read_receipt(path: Path) -> Receipt:
    """UserError where `path` is missing, or is not byte for byte what a step wrote."""
    try:
        text = path.read_text(encoding="utf-8")
        receipt = json.loads(text)
        body = {key: value for key, value in receipt.items() if key != "sha256"}
        whole = _text(receipt) == text and receipt["sha256"] == _hash(_text(body))
    except FileNotFoundError:
        raise UserError(f"{path}: no such receipt; run the step that writes it again") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        if of_system(error):
            raise
        whole = False
    if not whole:
        raise UserError(f"{path}: is not what a step wrote: the receipt was changed; run the step again")
    return receipt


def find_receipt(path: Path) -> Path | None:
    """The receipt of the step that made `path`.

    It lies beside it, beside a folder that holds it, or beside the step's first output next to it.
    """
    for place in (path, *path.parents):
        if place.name and beside(place).is_file():
            return beside(place)
    for receipt in sorted(path.parent.glob(f"*{SUFFIX}")):
        try:
            outputs = read_receipt(receipt)["outputs"].values()
        except (UserError, OSError):
            continue
        if any(Path(entry["path"]).absolute() == path.absolute() for entry in outputs):
            return receipt
    return None


def files_of(entry: Mapping[str, Any]) -> dict[str, str] | None:
    """name -> sha256 of the files of a receipt's folder; None for a file.

    UserError where the list is missing or is not the one that the receipt holds the hash of.
    """
    if "files" not in entry:
        return None
    path = Path(entry["files"])
    try:
        listed = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such list of files; run the step that writes it again") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        if of_system(error):
            raise
        raise UserError(f"{path}: cannot be read ({error}); run the step that writes it again") from None
    if hashlib.sha256(listed).hexdigest() != entry["sha256"]:
        raise UserError(f"{path}: is not the list that its receipt holds the hash of; run the step again")
    return read_listing(os.fsdecode(listed))


def made_hash(receipt: Receipt, path: Path) -> str | None:
    """The hash that a receipt's outputs give `path`, which may be a file in a folder; None for neither."""
    there = path.absolute()
    for entry in receipt["outputs"].values():
        made = Path(entry["path"]).absolute()
        if there == made:
            return entry["sha256"]
        if there.is_relative_to(made):
            return (files_of(entry) or {}).get(there.relative_to(made).as_posix())
    return None


def _maker(used: Content) -> dict[str, str] | None:
    """Path and hash of the receipt of the step that made an input, if it made what lies there now."""
    path = find_receipt(used.path)
    if path is None:
        return None
    try:
        receipt = read_receipt(path)
        known = made_hash(receipt, used.path) == used.sha256
    except (UserError, OSError):
        return None
    return {"path": path.as_posix(), "sha256": receipt["sha256"]} if known else None


def _entry(found: Content) -> dict[str, Any]:
    return {"path": found.path.as_posix(), "sha256": found.sha256}


def _stored(first: Path, name: str, found: Content) -> dict[str, Any]:
    """The entry of an output or source; a folder's list of files is written beside the receipt."""
    if found.files is None:
        return _entry(found)
    path = first.with_name(f"{first.name}.{name}.sha256.gz")
    with atomic(path) as temporary:
        temporary.write_bytes(gzip.compress(os.fsencode(found.files), mtime=0))
    return {**_entry(found), "files": path.as_posix()}


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
