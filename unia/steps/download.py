"""`unia download`: a dataset's raw data, fetched, generated or found, and a file that says what it is."""

from pathlib import Path

from unia.data import images, official, shapes
from unia.data.archives import is_archive, unpack, unpacked
from unia.data.fetch import Archive, check, fetch
from unia.errors import UserError
from unia.files import Content, content, write_json
from unia.progress import say
from unia.recipe import AcdcData, CocoData, Data, ImagesData, ShapesData, VocData
from unia.steps.source import source_of

UNPACKED = "unpacked"


def download(dataset: str, data: Data, out: Path) -> list[Content]:
    """Write `out`: kind, folders that hold the raw data, and the sha256 of what they came from; return that.

    Generated or unpacked data goes into `out` without its ending; folders are used where they are.
    Raises UserError where the source is missing or cannot be fetched.
    """
    folder = out.with_suffix("")
    if isinstance(data, ShapesData):
        shapes.generate(data, folder)
        origins = [folder]
    else:
        origins = _origins(dataset, data, folder)
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


def _origins(dataset: str, data: VocData | CocoData | AcdcData | ImagesData, folder: Path) -> list[Path]:
    """Archives and folders that the data comes from; `folder`: where archives are fetched to."""
    key = f"datasets.{dataset}.data.source"
    source = source_of(dataset, data)
    if source is not None:
        return _given(key, data, source)
    if isinstance(data, VocData | CocoData):
        return _fetched(key, data, folder)
    raise UserError(
        f"{key}: ACDC needs registration: get it from humanheart-project.creatis.insa-lyon.fr "
        "and name its archive or folder here"
    )


def _given(key: str, data: Data, source: Path) -> list[Path]:
    """The source, and the archives in it that have not been unpacked there."""
    if isinstance(data, ImagesData):
        if not (source / images.TABLE).is_file():
            raise UserError(f"{key}: {source} holds no {images.TABLE}; see the chapter on own data")
        return [source]
    if is_archive(source):
        return [_checked(source)]
    archives = [path for path in sorted(source.iterdir()) if is_archive(path)]
    packed = [_checked(path) for path in archives if not unpacked(path, source)]
    others = any(path.is_dir() and not path.name.startswith(".") for path in source.iterdir())
    return packed + ([source] if others or not packed else [])


def _fetched(key: str, data: VocData | CocoData, folder: Path) -> list[Path]:
    """The official archives, fetched."""
    archives = _official(key, data)
    unpacked = sum(archive.bytes for archive in archives)  # images and labels are compressed already
    spare = 0 if (folder / UNPACKED).exists() else unpacked
    return fetch(archives, folder / "archives", data.mirrors, spare)


def _checked(path: Path) -> Path:
    """An archive of the user's; under an official name it must be the official one."""
    for archive in official.ALL:
        if path.name == archive.name:
            say(f"check {path}")
            check(path, archive)
    return path


def _official(key: str, data: VocData | CocoData) -> list[Archive]:
    if isinstance(data, CocoData):
        return list(official.COCO)
    if data.augmented == "zip":
        raise UserError(
            f"{key}: SegmentationClassAug.zip has no official source: put it and "
            f"{official.VOC_TRAINVAL.name} into a folder and name that here, or set data.augmented: sbd, "
            "which can be fetched"
        )
    return [official.VOC_TRAINVAL] + ([official.SBD] if data.augmented == "sbd" else [])
