"""ACDC: cardiac MR volumes as slices, split by patient.

A NIfTI array is X x Y x Z. A slice is shown with rows along Y and columns along X: its image is
`volume[:, :, index].T`, so that nothing is resampled and `volume_of` brings it back exactly.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import nibabel
import numpy as np
from nibabel.orientations import (
    OrientationError,
    apply_orientation,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray
from PIL import Image

from unia.data import layout
from unia.data.origins import given
from unia.data.samples import Dataset, Problem, Sample, write_label
from unia.data.tiles import tags, tiles
from unia.errors import UserError
from unia.parallel import for_each
from unia.recipe import AcdcData, Tile
from unia.system import of_system

CLASSES = ("RV", "Myo", "LV")
HEART = (1, 2, 3)
GROUPS = ("NOR", "MINF", "DCM", "HCM", "RV")
PARTS = ("training", "testing")
APART = 0.1  # voxels that a label may lie off its voxel by its affine: headers round
LICENCE = "CC BY-NC-SA 4.0"
CITATION = (
    "Bernard et al., Deep Learning Techniques for Automatic MRI Cardiac Multi-structures Segmentation "
    "and Diagnosis: Is the Problem Solved?, IEEE TMI 2018"
)

# fmt: off
C_CAM_TEST = frozenset({
    "006_01", "013_01", "013_14", "018_10", "019_11", "028_09", "033_01", "034_01", "037_01", "039_10",
    "040_13", "046_10", "050_01", "052_09", "054_12", "062_01", "063_01", "065_14", "066_01", "069_01",
    "075_06", "078_01", "080_01", "093_14", "098_01",
})
# fmt: on
"""Patient and frame of the 25 volumes that C-CAM (Chen et al., CVPR 2022) tests on, by its own list."""

T = TypeVar("T", bound=np.generic)


def origins(key: str, config: AcdcData, source: Path | None, folder: Path) -> list[Path]:
    """The user's archive or folder; UserError where none is named."""
    if source is None:
        raise UserError(
            f"{key}: ACDC needs registration: get it from humanheart-project.creatis.insa-lyon.fr "
            "and name its archive or folder here"
        )
    return given(source)


def read(config: AcdcData, roots: Sequence[Path], folder: Path, final: Path) -> Dataset:
    """The splits train and val (from training/), and test where testing/ is there, below `roots`.

    Patients are split; with `split_by: volume-ccam` volumes are, as C-CAM does, so that the other phase of
    nearly all patients in val is in train.

    A sample is one slice of an end-diastolic or end-systolic volume, its labels the classes in it;
    with `tags: tile`, a sample of train is one tile of such a slice, without a mask. Images and masks are
    written to `folder`/images and `folder`/masks and recorded below `final`, the volumes' NIfTI headers to
    `folder`/headers. A volume or patient with something missing or wrong is a problem.
    """
    volumes, problems = _volumes(config, roots)
    for part in ("images", "masks", "headers"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    splits: dict[str, list[Sample]] = {}
    for split, members in volumes.items():
        splits[split] = []
        work = partial(_write, config, split, folder, final)
        for samples, wrong in for_each(work, members, f"slice ACDC, {split}"):
            splits[split] += samples
            problems += wrong
        splits[split].sort(key=lambda sample: sample.name)
    return Dataset(
        classes=CLASSES if config.target == "classes" else (config.target,),
        licence=LICENCE,
        citation=CITATION,
        splits=splits,
        unions={"heart": HEART} if config.target == "classes" else {},
        problems=problems,
        protocol=_protocol(config),
        tile=config.tile.side if config.tags == "tile" else None,
    )


def header_file(data: Path, volume: str) -> Path:
    """Where the prepared folder `data` keeps the NIfTI header of `volume`."""
    return data / "headers" / f"{volume}.hdr"


def read_header(path: Path) -> nibabel.Nifti1Header:
    """A header that `prepare` kept; UserError where it cannot be read."""
    try:
        return nibabel.Nifti1Header(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run prepare again") from None


def slice_of(volume: NDArray[T], index: int) -> NDArray[T]:
    """Slice `index` of an X x Y x Z volume as an image, Y x X."""
    return volume[:, :, index].T


def volume_of(slices: Sequence[NDArray[T]]) -> NDArray[T]:
    """The X x Y x Z volume of Z images, each Y x X: the inverse of `slice_of`."""
    return np.stack([image.T for image in slices], axis=2)


def _protocol(config: AcdcData) -> str:
    """What the image-level labels of train are given to, and how it was split if not by patient."""
    tile = config.tile
    given = "slices" if config.tags == "slice" else f"tiles of {tile.side} px every {tile.stride}"
    return given if config.split_by == "patient" else f"{given}; split by volume as C-CAM, which leaks"


def _volumes(config: AcdcData, roots: Sequence[Path]) -> tuple[dict[str, list[Sample]], list[Problem]]:
    """(split -> its volumes, as samples whose image and mask are NIfTI files; what is wrong)."""
    groups: dict[str, list[Path]] = defaultdict(list)
    frames: dict[Path, tuple[int, int]] = {}
    problems = []
    for patient in _patients(roots):
        try:
            group, frames[patient] = _about(patient)
        except UserError as error:
            problems.append(_problem(error, "", patient.name))
        else:
            groups["" if patient.parent.name == "testing" else group].append(patient)
    test = groups.pop("", [])
    val = {patient for members in groups.values() for patient in _val(members, config)}
    splits: dict[str, list[Sample]] = {split: [] for split in ("train", "val", "test")[: 3 if test else 2]}
    for patient in [*(patient for members in groups.values() for patient in members), *test]:
        for frame in frames[patient]:
            held_out = patient in val
            if config.split_by == "volume-ccam":
                held_out = f"{patient.name.removeprefix('patient')}_{frame:02d}" in C_CAM_TEST
            split = "test" if patient in test else "val" if held_out else "train"
            splits[split].append(_volume(patient, frame))
    return splits, problems


def _patients(roots: Sequence[Path]) -> list[Path]:
    """The folders of all patients below `roots`, in order of their names; of the first root that has one.

    Raises UserError where there is none, or a root holds one at two places.
    """
    patients: dict[str, Path] = {}
    for root in roots:
        for name, places in _patients_below(root).items():
            if len({place.resolve() for place in places}) > 1:  # links may lead twice to one
                raise UserError(
                    f"{root}: holds {name} more than once ({', '.join(map(str, places))}); "
                    "name the folder of one copy"
                )
            patients.setdefault(name, places[0])
    if not patients:
        raise layout.missing(roots, "training/patientNNN")
    return [patients[name] for name in sorted(patients)]


def _patients_below(root: Path) -> dict[str, list[Path]]:
    """name -> the folders of a patient."""
    found: dict[str, list[Path]] = defaultdict(list)
    for part in PARTS:
        for folder in layout.folders([root], part):
            for path in folder.glob("patient*"):
                if path.is_dir() and "__MACOSX" not in path.parts:
                    found[path.name].append(path)
    return found


def _val(patients: Sequence[Path], config: AcdcData) -> list[Path]:
    """The patients of one group that go to val: the first by a hash of seed and name.

    Unlike a generator's stream, that is the same with every version and whoever else is there.
    """
    ranked = sorted(patients, key=lambda path: sha256(f"{config.seed} {path.name}".encode()).digest())
    return ranked[: round(config.val_fraction * len(ranked))]


def _about(patient: Path) -> tuple[str, tuple[int, int]]:
    """(group, frames of end diastole and end systole), from Info.cfg's lines `key: value`."""
    path = patient / "Info.cfg"
    try:
        pairs = [line.partition(":") for line in path.read_text(encoding="utf-8").splitlines()]
        about = {key.strip(): value.strip() for key, _, value in pairs}
        frames = int(about["ED"]), int(about["ES"])
        group = about["Group"]
    except (OSError, ValueError, KeyError) as error:
        if of_system(error):
            raise
        raise UserError(f"{path}: must name ED, ES and Group ({error})") from None
    if frames[0] == frames[1]:
        raise UserError(f"{path}: ED and ES are the same frame, {frames[0]}")
    if group not in GROUPS:
        raise UserError(f"{path}: Group must be one of {', '.join(GROUPS)} (it is {group!r})")
    return group, frames


def _volume(patient: Path, frame: int) -> Sample:
    name = f"{patient.name}_frame{frame:02d}"
    return Sample(name, patient / f"{name}.nii.gz", patient / f"{name}_gt.nii.gz", None)


def _write(
    config: AcdcData, split: str, folder: Path, final: Path, volume: Sample
) -> tuple[list[Sample], list[Problem]]:
    """Write a volume's slices, or their tiles: (the samples, what is wrong with the volume)."""
    assert volume.mask is not None
    try:
        (image, header), (truth, about_truth) = _load(volume.image), _load(volume.mask)
        truth = _turned(volume.mask, truth, about_truth, image.shape, header)
        grey = _grey(volume.image, image, config)
        label = _label(volume.mask, truth, config)
    except UserError as error:
        return [], [_problem(error, split, volume.name)]
    header_file(folder, volume.name).write_bytes(header.binaryblock)
    samples = []
    for index in range(image.shape[2]):
        name = f"{volume.name}_slice{index:02d}"
        picture, shown = slice_of(grey, index), slice_of(label, index)
        if split == "train" and config.tags == "tile":
            samples += _write_tiles(name, picture, shown, folder, final, config.tile)
        else:
            samples.append(_write_slice(name, picture, shown, folder, final, volume.name))
    return samples, []


def _problem(error: UserError, split: str, name: str) -> Problem:
    file, _, reason = str(error).partition(": ")
    return Problem(file, reason, split, name)


def _write_slice(
    name: str, picture: NDArray[np.uint8], label: NDArray[np.uint8], folder: Path, final: Path, volume: str
) -> Sample:
    image, mask = Path("images") / f"{name}.png", Path("masks") / f"{name}.png"
    Image.fromarray(np.ascontiguousarray(picture)).save(folder / image)
    write_label(folder / mask, np.ascontiguousarray(label))
    return Sample(name, final / image, final / mask, tags(label, presence=1), volume)


def _write_tiles(
    name: str, picture: NDArray[np.uint8], label: NDArray[np.uint8], folder: Path, final: Path, tile: Tile
) -> list[Sample]:
    samples = []
    height, width = picture.shape
    for top, left in tiles(height, width, tile):
        part = slice(top, top + tile.side), slice(left, left + tile.side)
        image = Path("images") / f"{name}_y{top:03d}_x{left:03d}.png"
        Image.fromarray(np.ascontiguousarray(picture[part])).save(folder / image)
        samples.append(Sample(image.stem, final / image, None, tags(label[part], tile.presence)))
    return samples


def _load(path: Path) -> tuple[NDArray[Any], nibabel.Nifti1Header]:
    """A volume's array, X x Y x Z, and its NIfTI header."""
    try:
        volume = nibabel.Nifti1Image.from_filename(path)
        array = np.asarray(volume.dataobj)
        unknown = array.size - int(np.count_nonzero(np.isfinite(array)))
    except Exception as error:  # nibabel's readers of damaged files raise of every kind
        if of_system(error):
            raise
        raise UserError(f"{path}: cannot be read ({error})") from None
    if array.ndim != 3 or array.size == 0:
        raise UserError(f"{path}: must be X x Y x Z numbers, is {array.shape}")
    if unknown:
        raise UserError(f"{path}: {unknown} of its {array.size} voxels are NaN or infinite; replace them")
    return array, volume.header


def _turned(
    path: Path,
    truth: NDArray[Any],
    own: nibabel.Nifti1Header,
    shape: tuple[int, ...],
    wanted: nibabel.Nifti1Header,
) -> NDArray[Any]:
    """A label volume with its axes in the order and direction of its scan's, by both headers' affines.

    UserError where it is then of another shape, or lies elsewhere.
    """
    affine, target = own.get_best_affine(), wanted.get_best_affine()
    turned = truth
    if not np.allclose(affine, target, equal_nan=True):
        try:
            turn = ornt_transform(io_orientation(affine), io_orientation(target))
            turned = apply_orientation(truth, turn)
            off = _distance(affine @ inv_ornt_aff(turn, truth.shape), target, turned.shape)
        except (ValueError, np.linalg.LinAlgError, OrientationError) as error:
            raise UserError(f"{path}: its affine, or its volume's, is no orientation ({error})") from None
        if turned.shape == shape and not off <= APART:
            raise UserError(
                f"{path}: lies up to {off:.1f} voxels away from its volume, by their affines; "
                "resample it, or correct the wrong one"
            )
    if turned.shape != shape:
        raise UserError(f"{path}: is {truth.shape}, its volume {shape}")
    return turned


def _distance(one: NDArray[Any], other: NDArray[Any], shape: tuple[int, ...]) -> float:
    """How far two affines put the corner voxels of a volume apart, in voxels of the other."""
    corners = np.array([[*corner, 1] for corner in product(*((0, length - 1) for length in shape))]).T
    return float(np.abs(np.linalg.solve(other, one @ corners) - corners).max())


def _grey(path: Path, volume: NDArray[Any], config: AcdcData) -> NDArray[np.uint8]:
    """Intensities between the volume's percentiles as 0..255, those outside cut off."""
    low, high = np.percentile(volume, config.percentiles)
    if low == high:
        raise UserError(f"{path}: every intensity from percentile {config.percentiles} is {low}")
    grey: NDArray[np.uint8] = np.rint(np.clip((volume - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return grey


def _label(path: Path, truth: NDArray[Any], config: AcdcData) -> NDArray[np.uint8]:
    strange = np.setdiff1d(truth, (0, *HEART))
    if strange.size:
        raise UserError(f"{path}: holds {strange[:5].tolist()}, classes are 1..{len(CLASSES)}")
    if config.target == "classes":
        return truth.astype(np.uint8)
    members = CLASSES if config.target == "heart" else config.target.split("+")
    return np.isin(truth, [CLASSES.index(name) + 1 for name in members]).astype(np.uint8)
