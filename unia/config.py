"""The one model of params.yaml: typed, complete, and refusing what it does not know.

A dataset's `Recipe` is `recipe`, overlaid with `datasets.<name>` and, where `size: small`, with
`small`. Steps receive the sections they use; `sections_of` names them for both workflow engines.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from unia.errors import UserError

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Scales = Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ViT(Section):
    """Changes to the timm model's own numbers; None leaves them."""

    img_size: Positive | None = None
    patch_size: Positive | None = None
    embed_dim: Positive | None = None
    depth: Annotated[int, Field(ge=3)] | None = None
    num_heads: Positive | None = None


class Model(Section):
    backbone: str
    weights: str | None
    vit: ViT
    uncertainty: bool
    hidden: Positive
    heads: Positive
    pooling: Positive
    mlp: tuple[Positive, Positive]
    mean_mlp: Literal["shared", "separate"]
    decoder: Positive
    dilation: Positive

    @model_validator(mode="after")
    def _heads_divide(self) -> "Model":
        if self.hidden % self.heads:
            raise ValueError(f"heads: {self.heads} must divide hidden: {self.hidden}")
        return self


class PseudoLabel(Section):
    cam_scales: Scales
    high: Fraction
    low: Fraction
    background: Fraction
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


class Train(Section):
    seed: Count
    crop: Positive
    batch: Positive
    accumulate: Positive
    iterations: Positive
    lr: PositiveFloat
    head_lr: PositiveFloat
    weight_decay: Weight
    warmup: Count
    warmup_ratio: PositiveFloat
    power: PositiveFloat
    crop_scale: tuple[Fraction, Fraction]
    mirror: Fraction
    jitter: tuple[Weight, Weight, Weight, Annotated[float, Field(ge=0, le=0.5)]]
    jitter_probability: Fraction
    train_affinity_bias: bool
    precision: Literal["bf16", "float32"]
    workers: Count
    log_every: Positive

    @model_validator(mode="after")
    def _parts_divide(self) -> "Train":
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate: {self.accumulate} must divide batch: {self.batch}")
        return self


class Infer(Section):
    crop: Positive
    scales: Scales
    batch: Positive
    probability_floor: Fraction


class Crf(Section):
    iterations: Count
    gaussian_sxy: PositiveFloat
    gaussian_compat: Weight
    bilateral_sxy: PositiveFloat
    bilateral_srgb: PositiveFloat
    bilateral_compat: Weight


class ShapesData(Section):
    kind: Literal["shapes"]
    size: Annotated[int, Field(ge=32)]
    train: Positive
    val: Positive
    seed: Count


class VocData(Section):
    kind: Literal["voc"]
    source: str | None
    augmented: Literal["zip", "sbd"]
    labels: Literal["annotations", "masks"]


class CocoData(Section):
    kind: Literal["coco"]
    source: str | None


class AcdcData(Section):
    kind: Literal["acdc"]
    source: str | None
    target: Literal["classes", "heart"]
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Count
    percentiles: tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(ge=0, le=100)]]

    @model_validator(mode="after")
    def _window(self) -> "AcdcData":
        if self.percentiles[0] >= self.percentiles[1]:
            raise ValueError("percentiles: the first must be below the second")
        return self


Data = Annotated[ShapesData | VocData | CocoData | AcdcData, Field(discriminator="kind")]
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
        if not self.model.uncertainty and self.losses.distribution.weight > 0:
            raise ValueError(
                "model.uncertainty: false leaves losses.distribution nothing to compare; "
                "set losses.distribution.weight: 0"
            )
        patch = self.model.vit.patch_size
        for name, crop in (("train.crop", self.train.crop), ("infer.crop", self.infer.crop)):
            if patch is not None and crop % patch:
                raise ValueError(f"{name}: {crop} is no multiple of model.vit.patch_size: {patch}")
        return self


SECTIONS = tuple(name for name in Recipe.model_fields if name != "data")
"""The sections that `recipe`, `small` and every dataset hold."""

STEPS: Mapping[str, tuple[str, ...]] = {
    "download": ("data",),
    "prepare": ("data",),
    "train": ("model", "pseudo_label", "losses", "train"),
    "infer": ("pseudo_label", "infer"),
    "crf": ("crf",),
    "score": (),
    "evaluate": ("model", "pseudo_label", "infer", "crf"),
    "table": (),
}
"""Step -> the sections it reads: what makes it run again when it changes."""


class Params:
    """params.yaml as a whole: the merged and validated recipe of each dataset."""

    def __init__(self, document: Mapping[str, Any], lines: Mapping[tuple[str, ...], int], where: str):
        self._document = document
        self._lines = lines
        self._where = where
        self._check_top_level()
        self.size: str = document["size"]
        self.run: list[str] = document["run"]
        self.recipes: dict[str, Recipe] = {name: self._recipe(name) for name in document["datasets"]}

    def recipe(self, dataset: str) -> Recipe:
        """The recipe of `dataset`; UserError names the known ones otherwise."""
        try:
            return self.recipes[dataset]
        except KeyError:
            known = ", ".join(self.recipes)
            raise UserError(f"no dataset {dataset!r} in {self._where}; there are: {known}") from None

    def _layers(self, dataset: str) -> Iterator[tuple[str, ...]]:
        """Paths of the mappings that make up a dataset's recipe, first to last."""
        yield ("recipe",)
        yield ("datasets", dataset)
        if self._document["size"] == "small":
            yield ("small",)

    def _recipe(self, dataset: str) -> Recipe:
        layers = list(self._layers(dataset))
        merged: dict[str, Any] = {}
        for layer in layers:
            merged = overlay(merged, _at(self._document, layer))
        try:
            return Recipe.model_validate(_tuples(merged))
        except ValidationError as error:
            raise UserError(self._explain(error, layers)) from None

    def _explain(self, error: ValidationError, layers: list[tuple[str, ...]]) -> str:
        """One line for the first problem: place, key, what is wrong, nearest right name."""
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")  # misspelt before missing
        location = [str(part) for part in first["loc"]]
        if location[:1] == ["data"] and location[1:2] and location[1] in DATA_KINDS:
            del location[1]  # pydantic names the member of the union there
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = _unknown(location[-1], self._keys_beside(location, layers))
        elif first["type"] == "missing":
            message = "is missing"
        else:
            value = first["input"]
            message = message if isinstance(value, Mapping) else f"{message} (it is {value!r})"
        missing = first["type"] == "missing"
        written = [part for part in location[: len(location) - missing] if not part.isdigit()]
        order = layers if missing else reversed(layers)
        holders = [layer for layer in order if _holds(self._document, (*layer, *written))]
        path = (*(holders or layers[:1])[0], *location)
        return self._line(path) + f"{'.'.join(path)}: {message}"

    def _keys_beside(self, location: Sequence[str], layers: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
        """The keys that the mapping at `location`'s parent may hold."""
        model: Any = Recipe
        for part in location[:-1]:
            model = model.model_fields[part].annotation
            if part == "data":
                model = DATA_KINDS[_at(self._document, (*layers[1], "data", "kind"))]
        return tuple(model.model_fields)

    def _check_top_level(self) -> None:
        known = ("size", "run", "recipe", "small", "datasets")
        for key in self._document:
            if key not in known:
                self._refuse((key,), _unknown(key, known))
        for key in known:
            if key not in self._document:
                raise UserError(f"{self._where}: {key}: is missing")
        if self._document["size"] not in ("full", "small"):
            self._refuse(("size",), f"must be full or small (it is {self._document['size']!r})")
        datasets = self._document["datasets"]
        if not isinstance(datasets, Mapping) or not datasets:
            self._refuse(("datasets",), "must name at least one dataset")
        run = self._document["run"]
        if not isinstance(run, list) or any(name not in datasets for name in run):
            self._refuse(("run",), f"must be a list of datasets ({', '.join(datasets)})")
        layers: list[tuple[tuple[str, ...], Sequence[str]]] = [
            (("recipe",), SECTIONS),
            (("small",), SECTIONS),
        ]
        layers += [(("datasets", name), ("data", *SECTIONS)) for name in datasets]
        for path, sections in layers:
            self._check_layer(path, sections)

    def _check_layer(self, path: tuple[str, ...], sections: Sequence[str]) -> None:
        """Each layer holds every section (DVC follows them by name), and no other."""
        layer = _at(self._document, path)
        if not isinstance(layer, Mapping):
            self._refuse(path, "must be a mapping of sections")
        for key, value in layer.items():
            if key not in sections:
                self._refuse((*path, key), _unknown(key, sections))
            if not isinstance(value, Mapping):
                self._refuse((*path, key), "must be a mapping ({} where nothing differs)")
        for key in sections:
            if key not in layer:
                self._refuse(path, f"lacks the section {key}; write `{key}: {{}}`")

    def _refuse(self, path: tuple[str, ...], message: str) -> None:
        raise UserError(self._line(path) + f"{'.'.join(map(str, path))}: {message}")

    def _line(self, path: tuple[str, ...]) -> str:
        """`params.yaml:12: `, the line of `path` or of what holds it."""
        while path and path not in self._lines:
            path = path[:-1]
        return f"{self._where}:{self._lines[path]}: " if path else f"{self._where}: "


def load(path: Path, settings: Sequence[str] = ()) -> Params:
    """Read and validate params.yaml; `settings` are overrides such as `recipe.crf.iterations=5`.

    Raises UserError, one line with file, line and key, for anything wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give --params FILE") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save it as such") from None
    try:
        document = yaml.safe_load(text)
        lines = dict(_lines(yaml.compose(text, Loader=yaml.SafeLoader)))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, Mapping):
        raise UserError(f"{path}: must be a mapping with size, run, recipe, small and datasets")
    merged: Mapping[str, Any] = document
    for setting in settings:
        merged = overlay(merged, _setting(setting))
    return Params(merged, lines, str(path))


def overlay(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` laid over `base`: mappings merge key by key, everything else replaces."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = overlay(below, value)
        merged[key] = value
    return merged


def settings_between(base: Mapping[str, Any], changed: Mapping[str, Any]) -> list[str]:
    """The settings (`a.b=value`, value as YAML) that turn `base` into `changed`."""
    found = []
    for key, value in changed.items():
        below = base.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            found += [f"{key}.{rest}" for rest in settings_between(below, value)]
        elif key not in base or value != below:
            text = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n...\n")
            found.append(f"{key}={text.strip()}")
    return found


def _setting(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"--set {text}: must read KEY=VALUE, for instance recipe.crf.iterations=5")
    tree: Any
    try:
        tree = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--set {text}: the value is not valid YAML") from None
    for part in reversed(key.split(".")):
        tree = {part: tree}
    return tree


def _lines(node: yaml.Node | None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """(path, line) of every key of a YAML document."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            yield below, key.start_mark.line + 1
            yield from _lines(value, below)


def _at(document: Mapping[str, Any], path: Sequence[str]) -> Any:
    for part in path:
        document = document[part]
    return document


def _holds(document: Any, path: Sequence[str]) -> bool:
    for part in path:
        if not isinstance(document, Mapping) or part not in document:
            return False
        document = document[part]
    return True


def _tuples(value: Any) -> Any:
    """YAML's lists as tuples, whole numbers kept: what strict validation takes."""
    if isinstance(value, Mapping):
        return {key: _tuples(below) for key, below in value.items()}
    return tuple(_tuples(below) for below in value) if isinstance(value, list) else value


def _unknown(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known)}"
    return f"unknown key; {hint}"
