"""params.yaml, read and merged: every mistake is one line that names file, line and key.

A dataset's `Recipe` is `recipe`, overlaid with `datasets.<name>` and, where `size: small`, with `small`.
A run is a dataset, or one training of its ablation: `<dataset>/<variant>/<seed>`, which overlays that with
`ablations.<dataset>.changes`, with `variants.<variant>` and with the seed.
"""

import difflib
import os
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

import yaml
from pydantic import ValidationError

from unia.errors import UserError, without_passwords
from unia.layers import WithoutAliases, at, holds, lines_of, overlay, parsed, settings_between, tuples
from unia.recipe import DATA_KINDS, SECTIONS, Ablation, Recipe
from unia.system import of_system

TOP = ("size", "run", "recipe", "small", "datasets", "variants", "ablations")
RESERVED = ("train", "val", "test", "ablation", "raw")  # files and folders beside those of such a name
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
SIZES = ("full", "small")

EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+|[-+]?\d+\.\d*[eE]\d+")  # numbers to Python, text to YAML 1.1


class Contradiction(UserError):
    """Values that are each right alone, and contradict each other."""


class Params:
    """params.yaml as a whole: the merged and validated recipe of each dataset."""

    def __init__(
        self,
        document: Mapping[str, Any],
        lines: Mapping[tuple[str, ...], int],
        where: str,
        changed: Sequence[tuple[str, ...]] = (),
    ):
        """`document`: the file with the settings; `lines`: of its keys; `changed`: keys of the settings."""
        self._changed = changed
        self._document = document
        self._lines = lines
        self._where = where
        self._check_top_level()
        self.size: str = document["size"]
        self.run: list[str] = document["run"]
        self.datasets: tuple[str, ...] = tuple(document["datasets"])
        self._recipes: dict[str, Recipe] = {name: self._recipe(name) for name in self.datasets}
        self.ablations: dict[str, Ablation] = {name: self._ablation(name) for name in document["ablations"]}
        self.runs: tuple[str, ...] = (*self.datasets, *self.ablation_runs())
        self._check_unused()

    def recipe(self, run: str) -> Recipe:
        """The recipe of a run; UserError where there is none, or where its values contradict each other."""
        if run not in self.runs:
            known = ", ".join(self.datasets)
            if "/" in run:
                known = "<dataset>/<variant>/<seed> with those of `ablations`"
            raise UserError(f"no dataset or run {run!r} in {self._where}; there are: {known}")
        if run not in self._recipes:
            self._recipes[run] = self._recipe(run)
        return self._recipes[run]

    def _check_unused(self) -> None:
        """UserError for a mistake in what may not be in use: a variant, the other size, an ablation.

        An unknown key or a wrong value is told at once. Values that contradict each other are told when the
        run is asked for: a variant may suit other datasets, or other crops, than those in use.
        """
        for run in self.ablation_runs():
            with suppress(Contradiction):
                self._recipes[run] = self._recipe(run)
        others = [(name, size) for name in self.datasets for size in SIZES if size != self.size]
        others += [(f"{self.datasets[0]}/{variant}/0", self.size) for variant in self._document["variants"]]
        for run, size in others:
            with suppress(Contradiction):
                self._recipe(run, size)

    def without_effect(self, run: str, sections: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(key of a setting, key that wins over it in `run`), of settings in `sections` of a recipe.

        A variant, and the seed of an ablation's run, are there to win: that is not told.
        """
        layers = [layer for layer in self._layers(run, self.size) if layer[0] != "variants"]
        for key in self._changed:
            for number, layer in enumerate(layers):
                section, *below = key[len(layer) :] or ("",)
                if key[: len(layer)] == layer and section in sections:
                    above = [(*other, section, *below) for other in layers[number + 1 :]]
                    winning = [other for other in above if holds(self._document, other)]
                    if winning:
                        yield ".".join(key), ".".join(winning[-1])

    def ablation(self, dataset: str) -> Ablation:
        """The ablation of `dataset`; UserError where params.yaml has none."""
        if dataset not in self.ablations:
            raise UserError(f"{self._where}: ablations: has none of {dataset!r}; write what it should train")
        return self.ablations[dataset]

    def changes(self, dataset: str) -> dict[str, str]:
        """What each variant of a dataset's ablation changes, as settings: `losses.energy.weight=0`."""
        variants = self._document["variants"]
        return {
            name: " ".join(settings_between({}, variants[name])) for name in self.ablation(dataset).variants
        }

    def twin(self, dataset: str) -> str | None:
        """The variant of a dataset's ablation that learns from masks; None where there is none."""
        about = self.ablation(dataset)
        runs = {variant: f"{dataset}/{variant}/{about.seeds[0]}" for variant in about.variants}
        return next((v for v, run in runs.items() if self.recipe(run).train.supervision == "masks"), None)

    def ablation_runs(self) -> Iterator[str]:
        """Every `<dataset>/<variant>/<seed>`."""
        for dataset, ablation in self.ablations.items():
            yield from (f"{dataset}/{v}/{seed}" for v in ablation.variants for seed in ablation.seeds)

    def _layers(self, run: str, size: str) -> Iterator[tuple[str, ...]]:
        """Paths of the mappings that make up a run's recipe, first to last."""
        dataset, *variant = run.split("/")
        yield ("recipe",)
        yield ("datasets", dataset)
        if size == "small":
            yield ("small",)
        if variant and dataset in self._document["ablations"]:
            yield ("ablations", dataset, "changes")
        if variant:
            yield ("variants", variant[0])

    def _recipe(self, run: str, size: str = "") -> Recipe:
        layers = list(self._layers(run, size or self.size))
        merged: dict[str, Any] = {}
        for layer in layers:
            merged = overlay(merged, at(self._document, layer))
        if "/" in run:
            merged = overlay(merged, {"train": {"seed": int(run.rsplit("/", 1)[1])}})
        try:
            recipe = Recipe.model_validate(tuples(merged))
        except ValidationError as error:
            problems = error.errors()
            between = all(p["type"] == "value_error" and isinstance(p["input"], Mapping) for p in problems)
            raise (Contradiction if between else UserError)(self._explain(error, layers)) from None
        self._check_sources(recipe, layers)
        return recipe

    def _check_sources(self, recipe: Recipe, layers: Sequence[tuple[str, ...]]) -> None:
        """Files of the user's may not lie where steps write: what is made there replaces all that was."""
        data = Path("data")
        datasets = [data / within / name for name in self._document["datasets"] for within in ("", "raw")]
        for (section, key), paths in recipe.sources().items():
            for path, written in product(paths, (Path("results"), *datasets)):
                if _overlap(path, written):
                    self._refuse(
                        (*self._holder((section, key), layers[::-1]), section, key),
                        f"{path} is, holds or lies in {written}, which the steps write and empty; "
                        "move it elsewhere, and name that",
                    )

    def _ablation(self, dataset: str) -> Ablation:
        path = ("ablations", dataset)
        if dataset not in self._document["datasets"]:
            self._refuse(path, _unknown(dataset, list(self._document["datasets"])))
        try:
            ablation = Ablation.model_validate(tuples(at(self._document, path)))
        except ValidationError as error:
            first = error.errors()[0]
            where = (*path, *(str(part) for part in first["loc"]))
            known = tuple(Ablation.model_fields)
            extra = first["type"] == "extra_forbidden"
            reason = "is missing" if first["type"] == "missing" else first["msg"]
            self._refuse(where, _unknown(where[-1], known) if extra else reason.removeprefix("Value error, "))
        for variant in ablation.variants:
            if variant not in self._document["variants"]:
                self._refuse((*path, "variants"), _unknown(variant, list(self._document["variants"])))
        return ablation

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
        elif first["type"] == "union_tag_invalid":
            found = _short(at(self._document, layers[1])["data"]["kind"])
            message = f"kind must be one of {', '.join(DATA_KINDS)} (it is {found})"
        else:
            value = first["input"]
            message = message if isinstance(value, Mapping) else f"{message} (it is {_short(value)})"
            if isinstance(value, str) and EXPONENT.fullmatch(value):
                message += f"; YAML reads {value} as text: write {_number(value)}"
        missing = first["type"] == "missing"
        written = [part for part in location[: len(location) - missing] if not part.isdigit()]
        order = layers if missing else layers[::-1]
        return self._told((*self._holder(written, order), *location), message)

    def _holder(self, key: Sequence[str], layers: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
        """The first of `layers` that holds `key`; the first of all where none does."""
        return next((layer for layer in layers if holds(self._document, (*layer, *key))), layers[0])

    def _keys_beside(self, location: Sequence[str], layers: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
        """The keys that the mapping at `location`'s parent may hold."""
        model: Any = Recipe
        for part in location[:-1]:
            model = model.model_fields[part].annotation
            if part == "data":
                model = DATA_KINDS[at(self._document, (*layers[1], "data", "kind"))]
        return tuple(model.model_fields)

    def _check_top_level(self) -> None:
        for key in self._document:
            if key not in TOP:
                self._refuse((key,), _unknown(key, TOP))
        for key in TOP:
            if key not in self._document:
                raise UserError(f"{self._where}: {key}: is missing")
        if self._document["size"] not in SIZES:
            self._refuse(("size",), f"must be full or small (it is {_short(self._document['size'])})")
        datasets = self._document["datasets"]
        if not isinstance(datasets, Mapping) or not datasets:
            self._refuse(("datasets",), "must name at least one dataset")
        for name in datasets:
            self._check_name("datasets", name)
        run = self._document["run"]
        if not isinstance(run, list) or any(name not in list(datasets) for name in run):
            self._refuse(("run",), f"must be a list of datasets ({', '.join(datasets)})")
        layers: list[tuple[tuple[str, ...], Sequence[str]]] = [
            (("recipe",), SECTIONS),
            (("small",), SECTIONS),
        ]
        layers += [(("datasets", name), ("data", *SECTIONS)) for name in datasets]
        for path, sections in layers:
            self._check_layer(path, sections)
        for key in ("variants", "ablations"):
            if not isinstance(self._document[key], Mapping):
                self._refuse((key,), "must be a mapping ({} for none)")
        for name, changes in self._document["variants"].items():
            self._check_name("variants", name)
            self._check_changes(("variants", name), changes)
        for name, about in self._document["ablations"].items():
            if isinstance(about, Mapping) and "changes" in about:
                self._check_changes(("ablations", str(name), "changes"), about["changes"])

    def _check_name(self, key: str, name: object) -> None:
        """What becomes part of paths and of commands."""
        if not isinstance(name, str) or not PLAIN.fullmatch(name) or name in RESERVED:
            what = "must be a plain name (a letter, then up to 63 letters, digits, _ or -)"
            self._refuse((key, str(name)), f"{what}, and none of {', '.join(RESERVED)}")

    def _check_changes(self, path: tuple[str, ...], changes: object) -> None:
        """Changes of a recipe: of any section but data, which is the dataset's."""
        if not isinstance(changes, Mapping):
            self._refuse(path, "must be a mapping ({} for the method as it is)")
        for key in changes:
            if key not in SECTIONS:
                self._refuse((*path, key), _unknown(key, SECTIONS))

    def _check_layer(self, path: tuple[str, ...], sections: Sequence[str]) -> None:
        """Each layer holds every section (DVC follows them by name), and no other."""
        layer = at(self._document, path)
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

    def _refuse(self, path: tuple[str, ...], message: str) -> NoReturn:
        raise UserError(self._told(path, message))

    def _told(self, path: tuple[str, ...], message: str) -> str:
        """One line, whatever stands in a key."""
        return " ".join(f"{self._line(path)}{'.'.join(map(str, path))}: {message}".split())

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
        if of_system(error):
            raise
        raise UserError(f"{path}: cannot be read ({error.strerror}); give --params FILE") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save it as such") from None
    try:
        lines: dict[tuple[str, ...], int] = {}
        for key, line in lines_of(yaml.compose(text, Loader=WithoutAliases)):
            if key in lines:  # YAML would silently take the last one
                raise UserError(f"{path}:{line}: {'.'.join(key)}: stands in line {lines[key]} already")
            lines[key] = line
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # dates and numbers that are none
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, Mapping):
        raise UserError(f"{path}: must be a mapping with {', '.join(TOP)}")
    merged: Mapping[str, Any] = document
    changes: Mapping[str, Any] = {}
    for setting in settings:
        merged, changes = (overlay(below, parsed(setting)) for below in (merged, changes))
    changed = [tuple(setting.partition("=")[0].split(".")) for setting in settings_between({}, changes)]
    return Params(merged, lines, str(path), changed)


def dataset_of(run: str) -> str:
    """The dataset of a run."""
    return run.split("/")[0]


def _overlap(one: Path, other: Path) -> bool:
    """Whether the one is, holds or lies in the other, as they are named or once links are followed."""
    named = [(Path(place(one)), Path(place(other))) for place in (os.path.abspath, os.path.realpath)]
    return any(a.is_relative_to(b) or b.is_relative_to(a) for a, b in named)


def _short(value: object) -> str:
    """A value as one reads it, however long it is, without a password."""
    value = without_passwords(value) if isinstance(value, str) else value
    return reprlib.repr(list(value) if isinstance(value, tuple) else value)


def _number(text: str) -> str:
    """A number such as 6e-5 as YAML wants it: 6.0e-05."""
    mantissa, _, exponent = text.lower().partition("e")
    return f"{float(mantissa)}e{int(exponent):+03d}"


def _unknown(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known)}"
    return f"unknown key; {hint}"
