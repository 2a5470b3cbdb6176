"""params.yaml, wrong in every key and in every way: refused in one line, or on the short lists below.

`pytest tests/faults/test_bad_params.py -rP` prints what is said of each.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mutated import WRONG, Mutation, mutations

from unia import cli
from unia.classes import class_names
from unia.config import Params, load
from unia.data import acdc, coco, shapes, voc
from unia.errors import UserError
from unia.recipe import SECTIONS, Losses, Recipe

FILE = Path(__file__).parents[2] / "params.yaml"

# What some keys may be. All else must be refused; and each entry must be needed.
MAY_BE: dict[str, set[str]] = {
    "null": {
        *("weights", "mutual_after"),  # from scratch; never
        *("img_size", "patch_size", "embed_dim", "depth", "num_heads"),  # the backbone's own
    },
    "text": {"weights", "source"},  # names and paths: the step that reads them refuses
    "boolean": {"use", "train_affinity_bias", "deterministic"},
    "a list": {"run"},
    "huge": {"seed", "seeds"},
    "a number": {
        *("cam_scales", "scales", "weight", "sigma_rgb", "sigma_xy", "power", "weight_decay", "jitter"),
        *("gaussian_sxy", "gaussian_compat", "bilateral_sxy", "bilateral_srgb", "bilateral_compat"),
        "percentiles",
    },
    "zero": {
        *(
            "weight",
            "after",
            "mutual_after",
            "low",
            "background",
            "affinity_background",
            "par_iterations",
            "late_after",
        ),
        *("seed", "seeds", "weight_decay", "warmup", "flip", "jitter", "jitter_probability", "workers"),
        *("iterations", "gaussian_compat", "bilateral_compat", "probability_floor", "settled"),
    },
    "missing": {"problems", "duplicates", "mirrors"},
}
LAYERS = ("small", "datasets", "variants", "ablations")  # where a key that differs from the recipe stands


def mutated_file() -> dict[str, Any]:
    """params.yaml with few trainings in its ablations: they are all checked, of each mutation."""
    document: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    ablations = document["ablations"]
    ablations["shapes"] |= {"seeds": [1], "variants": ["full", "no_mutual"]}
    ablations["voc"]["variants"] = ["full", "small_backbone"]
    ablations["voc_cpu"] |= {"seeds": [1], "variants": ["full", "no_ptc"]}
    return document


def name_of(mutation: Mutation) -> str:
    """The key that is wrong, or that holds the list with the wrong item."""
    return next(part for part in reversed(mutation.path) if isinstance(part, str))


def may(mutation: Mutation) -> tuple[str, str] | None:
    """The entry of the lists that lets it pass."""
    path, what = mutation.path, mutation.what
    key = name_of(mutation)
    if key in MAY_BE.get(what, ()):
        return what, key
    if (
        len(path) == 2
        and path[0] in ("datasets", "variants", "ablations")
        and what in ("missing", "misspelt")
    ):
        return what, "a name that nothing refers to"
    if path == ("ablations",) and what == "a mapping":
        return what, "no ablation"
    layered = path[0] in LAYERS and "data" not in path and path[-1] not in ("seeds", "variants", "changes")
    if layered and len(path) > 1 and what in ("missing", "a mapping"):
        return what, "nothing differs from the recipe there"
    return (what, "no change") if path[-1] == "changes" and what == "a mapping" else None


def refusals(tried: Iterable[Mutation]) -> set[tuple[str, str]]:
    """Prints a line for each; returns the entries of the lists that let one pass."""
    used = set()
    for mutation in tried:
        try:
            Params(mutation.document, {}, "params.yaml")
        except UserError as error:
            message = str(error)
            assert "\n" not in message, mutation
            assert len(message) < 300, mutation
            assert message.startswith("params.yaml: "), mutation
            blamed = {name_of(mutation), mutation.written} - {""}
            if len(mutation.path) <= 2:  # what refers to a dataset or a variant that is gone
                blamed |= {"run", "ablations"}
            assert any(part in message for part in blamed), (mutation.key, message)
            print(f"| {mutation.key} | {mutation.what} | {message.removeprefix('params.yaml: ')} |")
        else:
            entry = may(mutation)
            assert entry is not None, f"accepted silently: {mutation}"
            used.add(entry)
    return used


def test_every_key_in_some_wrong_ways() -> None:
    tried = list(mutations(mutated_file()))
    assert len(tried) > 20 * len(WRONG) * 10
    refusals(tried[::7])


@pytest.mark.slow
@pytest.mark.faults
def test_every_key_in_every_wrong_way() -> None:
    used = refusals(mutations(mutated_file()))
    unused = {(what, key) for what, keys in MAY_BE.items() for key in keys} - used
    assert not unused, "lists that say more than is true hide what comes next"


NOTHING = str({name: {"weight": 0} for name in Losses.model_fields})
EMPTY = ", ".join(f"{name}: {{}}" for name in SECTIONS)
OWN = f"datasets.own={{data: {{kind: images, source: %s, classes: %s}}, {EMPTY}}}"

# Settings that are each right alone: (settings, the key blamed, part of the reason)
CONTRADICTIONS = [
    ("recipe.train.crop=450", "datasets.voc: train.crop: 450 is no multiple of the ViT's patch: 16"),
    ("datasets.shapes.infer.size=62", "datasets.shapes: infer.size: 62 is no multiple of the ViT's patch: 5"),
    ("datasets.acdc.infer.scales=[0.01]", "infer.size: 256 times the scale 0.01 is 2, no multiple of"),
    ("datasets.acdc.train.crop=224", "train.crop: 224 times the scale 0.75 is 168, no multiple of"),
    ("datasets.shapes.model.vit.img_size=62", "vit: patch_size: 5 must divide img_size: 62"),
    ("datasets.shapes.model.vit.num_heads=5", "vit: num_heads: 5 must divide embed_dim: 96"),
    ("size=small & small.model.vit.num_heads=5", "small.model.vit: num_heads: 5 must divide embed_dim: 96"),
    ("recipe.model.backbone=vit_bse_patch16_224", "name; did you mean 'vit_base_patch16_224'? (it is"),
    ("recipe.model.backbone=resnet50", "recipe.model.backbone: timm has no plain vision transformer of this"),
    (
        "variants.small_backbone.model.backbone=vit_small_patch16_224.augreg_in21k_ft_in1",
        "timm has no weights 'augreg_in21k_ft_in1'; did you mean 'augreg_in21k_ft_in1k'? (it is",
    ),
    ("recipe.model.uncertainty.hidden=1000", "model.uncertainty: heads: 16 must divide hidden: 1000"),
    ("datasets.coco.train.accumulate=3", "datasets.coco.train: accumulate: 3 must divide batch: 8"),
    ("recipe.train.crop_scale=[1.0, 0.3]", "train: crop_scale: the first must not be above the second"),
    ("datasets.voc.pseudo_label.low=0.8", "datasets.voc.pseudo_label: low: 0.8 must be below high: 0.7"),
    ("recipe.model.uncertainty.use=false", "losses.distribution.weight: 0"),
    ("datasets.acdc.data.tile.stride=65", "data.tile: stride: 65 must not be above side: 64"),
    ("datasets.acdc.data.tile.presence=5000", "presence: 5000 is more than the 4096 pixels of a tile"),
    ("datasets.acdc.data.percentiles=[50, 50]", "percentiles: the first must be below the second"),
    ("run=[shapes, cityscapes]", "run: must be a list of datasets"),
    ("run=[[shapes]]", "run: must be a list of datasets"),
    ("ablations.shapes.variants=[full, no_enrgy]", "unknown key; did you mean 'no_energy'?"),
    ("ablations.shapes.variants=[full, full]", "variants: each may be named once"),
    ("ablations.shapes.changes={data: {size: 32}}", "ablations.shapes.changes.data: unknown key"),
    ("variants.full={data: {seed: 3}}", "variants.full.data: unknown key"),
    (f"variants.no_energy.losses={NOTHING}", "variants.no_energy.losses: every weight is 0"),
    ("small.train.batch=-1", "small.train.batch: Input should be greater than 0"),
    (OWN % ("x", "[a, a]"), "classes: each may be named once"),
    (OWN % ("x", "[rose, Rose]"), "classes: each may be named once"),
    (OWN % ("x", "[sea lion, Sealion]"), "each may be named once, and 'sea lion', 'Sealion' read as one"),
    (OWN % ("x", '["ros\\u00e9", "rose\\u0301"]'), "classes: each may be named once"),
    (OWN % ("x", "[BackGround, rose]"), "classes: 'BackGround' is class 0 of every dataset"),
    (OWN % ("x", "[rose, Seg_MS]"), "classes: 'Seg_MS' is a row of every table"),
    (OWN % ("x", "[rose, all_Rose]"), "classes: 'all_Rose' is the row all_rose of tables"),
    (OWN % ("x", "[all_background]"), "classes: 'all_background' is the row all_background"),
    (OWN % ("x", "[]"), "classes: Tuple should have at least 1 item"),
    (OWN % ("x", '["a\\nb"]'), "classes: names may hold letters"),
    (OWN % ("''", "[a]"), "source: String should have at"),
    # a name becomes part of paths and commands
    ("datasets.val={}", "datasets.val: must be a plain name"),
    ("datasets.raw={}", "datasets.raw: must be a plain name"),
    ("datasets={../out: {}}", "datasets.../out: must be a plain name"),
    ("datasets={'a; touch pwned': {}}", "datasets.a; touch pwned: must be a plain name"),
    ("datasets={'a b': {}}", "datasets.a b: must be a plain name"),
    ("datasets={'-rf': {}}", "datasets.-rf: must be a plain name"),
    ('datasets={"a\\nb": {}}', "datasets.a b: must be a plain name"),
    ("datasets={3: {}}", "datasets.3: must be a plain name"),
    ("variants={$(touch pwned): {}}", "variants.$(touch pwned): must be a plain name"),
    ("variants={null: {}}", "variants.None: must be a plain name"),
]  # fmt: skip


def recipes(settings: list[str]) -> list[Recipe]:
    """Those of all runs, in use or not."""
    params = load(FILE, settings)
    return [params.recipe(run) for run in params.runs]


@pytest.mark.parametrize(("setting", "reason"), CONTRADICTIONS)
def test_contradictions(setting: str, reason: str) -> None:
    with pytest.raises(UserError) as caught:
        recipes(setting.split(" & "))
    message = str(caught.value)
    assert reason in message
    assert "\n" not in message
    assert message.startswith(str(FILE))
    print(f"| {setting} | {message.removeprefix(f'{FILE}')} |")


def test_the_classes_and_unions_of_every_dataset_are_told_apart() -> None:
    fixed = (shapes.CLASSES, voc.CLASSES, tuple(coco.CATEGORIES.values()), (*acdc.CLASSES, "heart"))
    assert all(class_names(names) == names for names in fixed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("size: 2020-13-45", "not valid YAML: month must be in 1..12"),
        (f"size: {'9' * 5000}", "not valid YAML: Exceeds the limit"),
        (f"size: {'[' * 5000}", "not valid YAML: maximum recursion depth"),
        ("size: &a {b: 1}\nrun: *a", "aliases (*) are not read; write it out"),
        ("size: &a [*a]", "aliases (*) are not read; write it out"),
        ("size: !!python/name:os.system", "not valid YAML: could not determine a constructor"),
        ("size: !include /etc/passwd", "not valid YAML: could not determine a constructor"),
    ],
)
def test_yaml_that_is_none(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load(path)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"--set recipe=.*"):
        load(
            FILE, [f"recipe={text.split('size: ')[1].split(chr(10))[0]}" if "run" not in text else "recipe=["]
        )


@pytest.mark.parametrize("command", ["train", "infer", "prepare"])
def test_the_command_line_says_one_line(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"train": ["--data", "d"], "infer": ["--data", "d", "--split", "val", "--checkpoint", "c"]}
    arguments = [command, "shapes", "--out", "o", *more.get(command, ["--raw", "r"])]
    settings = ["--params", str(FILE), "--set", "recipe.train.crop=450"]
    monkeypatch.setattr("sys.argv", ["unia", *arguments, *settings])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    said = capsys.readouterr()
    lines = (said.out + said.err).splitlines()
    assert len(lines) == 1
    assert "train.crop: 450 is no multiple of the ViT's patch: 16" in lines[0]
