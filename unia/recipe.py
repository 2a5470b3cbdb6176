"""The sections of params.yaml as types: what each step may be told, and what it refuses.

A dataset's `Recipe` is read and merged by `unia.config`; `unia.pipeline` says which step reads which section.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from unia.backbones import known
from unia.classes import MOST as MOST_CLASSES
from unia.classes import class_names
from unia.errors import without_passwords


def _public(address: str) -> str:
    """Parameters are kept in receipts and in MLflow, and are published: no place for a password."""
    if without_passwords(address) != address:
        raise ValueError("holds a password, which receipts would publish; write it into ~/.netrc")
    return address


MOST = 10**9  # of anything: beyond it, a slip of the keyboard

Positive = Annotated[int, Field(gt=0, le=MOST)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, le=MOST, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=MOST, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]
Precision = Literal["bf16", "float32"]
Mirrors = tuple[Annotated[str, Field(pattern=r"^(https?|file)://"), AfterValidator(_public)], ...]
Classes = Annotated[
    tuple[str, ...], Field(min_length=1, max_length=MOST_CLASSES), AfterValidator(class_names)
]
Scales = Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ViT(Section):
    """Changes to the timm model's own numbers; None leaves them."""

    img_size: Positive | None = None
    patch_size: Positive | None = None
    embed_dim: Positive | None = None
    depth: Annotated[int, Field(ge=3, le=1000)] | None = None
    num_heads: Positive | None = None

    @model_validator(mode="after")
    def _divide(self) -> "ViT":
        for part, whole in (("patch_size", "img_size"), ("num_heads", "embed_dim")):
            one, other = getattr(self, part), getattr(self, whole)
            if one and other and other % one:
                raise ValueError(f"{part}: {one} must divide {whole}: {other}")
        return self


class UncertaintyInference(Section):
    use: bool
    hidden: Positive
    heads: Positive
    pooling: Positive
    mlp: tuple[Positive, Positive]
    mean_mlp: Literal["shared", "separate"]
    damping: Literal["inferred", "constant"]

    @model_validator(mode="after")
    def _heads_divide(self) -> "UncertaintyInference":
        if self.hidden % self.heads:
            raise ValueError(f"heads: {self.heads} must divide hidden: {self.hidden}")
        return self


class Decoder(Section):
    channels: Positive
    dilation: Positive


class Model(Section):
    backbone: Annotated[str, AfterValidator(known)]
    weights: Name | None
    vit: ViT
    uncertainty: UncertaintyInference
    decoder: Decoder

    @property
    def patch(self) -> int | None:
        """Side of a patch in pixels, so far as it is said here: by `vit`, or in the backbone's name."""
        named = re.search(r"_patch(\d+)_", self.backbone)
        return self.vit.patch_size or (int(named[1]) if named else None)

    @property
    def weights_file(self) -> Path | None:
        """The file that `weights` names; None for timm's own, and for none."""
        return None if self.weights in (None, "timm") else Path(self.weights)


class PseudoLabel(Section):
    cam_scales: Scales
    high: Fraction
    low: Fraction
    background: Fraction
    affinity_background: Fraction
    par_iterations: Count
    par_dilations: Annotated[tuple[Positive, ...], Field(min_length=1)]
    radius: Positive
    late_after: Count
    token_resize: Literal["nearest", "bilinear"]

    @model_validator(mode="after")
    def _low_below_high(self) -> "PseudoLabel":
        if self.low >= self.high:
            raise ValueError(f"low: {self.low} must be below high: {self.high}")
        return self


class Loss(Section):
    weight: Weight


class TimedLoss(Loss):
    after: Count


class SwitchedLoss(TimedLoss):
    mutual_after: Count | None


class DistributionLoss(SwitchedLoss):
    samples: Positive


class EnergyLoss(TimedLoss):
    sigma_rgb: PositiveFloat
    sigma_xy: PositiveFloat
    scale: Annotated[float, Field(gt=0, le=1)]
    filter: Literal["lattice", "exact"]


class Losses(Section):
    classification: Loss
    classification_aux: Loss
    ptc: TimedLoss
    affinity: SwitchedLoss
    distribution: DistributionLoss
    segmentation: SwitchedLoss
    energy: EnergyLoss

    @model_validator(mode="after")
    def _something_to_learn(self) -> "Losses":
        if not any(getattr(self, name).weight for name in type(self).model_fields):
            raise ValueError("every weight is 0: nothing would be learned")
        return self


class Train(Section):
    supervision: Literal["labels", "masks"]
    seed: Seed
    crop: Positive
    batch: Positive
    accumulate: Positive
    iterations: Positive
    lr: Rate
    head_lr: Rate
    weight_decay: Weight
    warmup: Count
    warmup_ratio: Rate
    power: PositiveFloat
    crop_scale: tuple[Rate, Rate]
    flip: Fraction
    jitter: tuple[Weight, Weight, Weight, Annotated[float, Field(ge=0, le=0.5)]]
    jitter_probability: Fraction
    train_affinity_bias: bool
    precision: Precision
    workers: Count
    log_every: Positive
    save_every: Positive
    deterministic: bool

    @model_validator(mode="after")
    def _consistent(self) -> "Train":
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate: {self.accumulate} must divide batch: {self.batch}")
        if self.crop_scale[0] > self.crop_scale[1]:
            raise ValueError("crop_scale: the first must not be above the second")
        return self


class Infer(Section):
    size: Positive
    scales: Scales
    batch: Positive
    precision: Precision


class Crf(Section):
    iterations: Count
    settled: Fraction
    gaussian_sxy: PositiveFloat
    gaussian_compat: Weight
    bilateral_sxy: PositiveFloat
    bilateral_srgb: PositiveFloat
    bilateral_compat: Weight
    probability_floor: Fraction


class AnyData(Section):
    """What every kind of dataset may be told."""

    problems: Literal["stop", "leave_out"] = "stop"
    duplicates: Literal["tell", "refuse"] = "tell"


class ShapesData(AnyData):
    kind: Literal["shapes"]
    source: ClassVar[None] = None  # it is generated
    size: Annotated[int, Field(ge=32, le=MOST)]
    train: Positive
    val: Positive
    seed: Seed


class VocData(AnyData):
    kind: Literal["voc"]
    source: Name | None
    mirrors: Mirrors = ()
    augmented: Literal["zip", "sbd", "none"]
    labels: Literal["annotations", "masks"]


class CocoData(AnyData):
    kind: Literal["coco"]
    source: Name | None
    mirrors: Mirrors = ()
    crowd: Literal["paint", "skip", "ignore"]
    min_area: Count
    classes: Classes | None = None
    """What the categories of own data in COCO's format are called; None: COCO's 80."""
    licence: str = ""
    citation: str = ""

    @model_validator(mode="after")
    def _own_is_not_fetched(self) -> "CocoData":
        if self.classes is not None and self.source is None:
            raise ValueError("source: must name the folder of data that has classes of its own")
        return self


class Tile(Section):
    """How training slices are cut into tiles; all in pixels of the slice."""

    side: Positive
    stride: Positive
    presence: Positive

    @model_validator(mode="after")
    def _without_gaps(self) -> "Tile":
        if self.stride > self.side:
            raise ValueError(f"stride: {self.stride} must not be above side: {self.side}")
        if self.presence > self.side**2:
            raise ValueError(f"presence: {self.presence} is more than the {self.side**2} pixels of a tile")
        return self


class AcdcData(AnyData):
    kind: Literal["acdc"]
    source: Name | None
    target: Literal["classes", "heart", "RV", "Myo", "LV", "RV+Myo", "RV+LV", "Myo+LV"]
    split_by: Literal["patient", "volume-ccam"]
    tags: Literal["slice", "tile"]
    tile: Tile
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed
    percentiles: tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(ge=0, le=100)]]

    @model_validator(mode="after")
    def _window(self) -> "AcdcData":
        if self.percentiles[0] >= self.percentiles[1]:
            raise ValueError("percentiles: the first must be below the second")
        return self


class ImagesData(AnyData):
    """Own images, with labels.csv beside them."""

    kind: Literal["images"]
    source: Name
    classes: Classes
    licence: str = ""
    citation: str = ""


Data = Annotated[ShapesData | VocData | CocoData | AcdcData | ImagesData, Field(discriminator="kind")]
DATA_KINDS = {get_args(m.model_fields["kind"].annotation)[0]: m for m in get_args(get_args(Data)[0])}


class Recipe(Section):
    """All that one dataset's pipeline uses."""

    data: Data
    model: Model
    pseudo_label: PseudoLabel
    losses: Losses
    train: Train
    infer: Infer
    crf: Crf

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if not self.model.uncertainty.use and self.losses.distribution.weight > 0:
            raise ValueError(
                "model.uncertainty.use: false leaves losses.distribution nothing to compare; "
                "set losses.distribution.weight: 0"
            )
        patch = self.model.patch or 1
        said = f"no multiple of the ViT's patch: {patch} (by patch_size in model.vit, or model.backbone)"
        for name, crop, scales in (
            ("train.crop", self.train.crop, self.pseudo_label.cam_scales),
            ("infer.size", self.infer.size, (*self.pseudo_label.cam_scales, *self.infer.scales)),
        ):
            if crop % patch:
                raise ValueError(f"{name}: {crop} is {said}")
            for scale in scales:  # else the ViT would leave out a rim of the image
                seen = int(crop * scale)
                if seen < patch or seen % patch:
                    raise ValueError(
                        f"{name}: {crop} times the scale {scale} is {seen}, {said}; "
                        f"crops of a multiple of {4 * patch} suit scales in quarters"
                    )
            if crop * max(scales) > MOST:
                raise ValueError(f"{name}: {crop} times the scale {max(scales)} is no size of an image")
        return self

    def sources(self) -> dict[tuple[str, str], tuple[Path, ...]]:
        """(section, key) -> the files and folders of the user's that it names."""
        source = getattr(self.data, "source", None)
        mirrors = [urlsplit(address) for address in getattr(self.data, "mirrors", ())]
        weights = self.model.weights_file
        return {
            ("data", "source"): () if source is None else (Path(source),),
            ("data", "mirrors"): tuple(Path(unquote(m.path)) for m in mirrors if m.scheme == "file"),
            ("model", "weights"): () if weights is None else (weights,),
        }


class Ablation(Section):
    """Which variants of the method a dataset's ablation trains, with which seeds."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    variants: Annotated[tuple[str, ...], Field(min_length=1)]
    changes: Mapping[str, Any]

    @model_validator(mode="after")
    def _distinct(self) -> "Ablation":
        for name in ("seeds", "variants"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: each may be named once")
        return self


SECTIONS = tuple(name for name in Recipe.model_fields if name != "data")
"""The sections that `recipe`, `small` and every dataset hold."""
