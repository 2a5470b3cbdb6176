"""params.yaml: what is refused and how, sizes, settings, and the published recipes."""

from pathlib import Path

import pytest
import yaml
from refusal import FILE, refusal

from unia.config import load
from unia.errors import UserError
from unia.layers import settings_between
from unia.pipeline import STEPS
from unia.recipe import Recipe

TEXT = FILE.read_text(encoding="utf-8")


def changed(folder: Path, right: str, wrong: str) -> tuple[Path, int]:
    """(params.yaml with `wrong` for the first `right`, the line of it)."""
    place = TEXT.index(right)
    path = folder / "params.yaml"
    path.write_text(TEXT.replace(right, wrong, 1), encoding="utf-8")
    blank = len(wrong) - len(wrong.lstrip("\n"))
    return path, TEXT.count("\n", 0, place) + 1 + blank


# (text of params.yaml, what stands there instead, the key blamed, part of the reason); blamed at that line
AT_THE_LINE = [
    # unknown keys, at every depth, with the nearest right name
    ("size: full", "sise: full", "sise", "did you mean 'size'?"),
    ("  model:\n", "  modell:\n", "recipe.modell", "did you mean 'model'?"),
    ("    decoder: {channels: 512", "    decodr: {channels: 512", "recipe.model.decodr",
     "did you mean 'decoder'?"),
    ("    ptc: {weight: 0.3, after: 0}", "    ptc: {weight: 0.3, aftr: 0}", "recipe.losses.ptc.aftr",
     "did you mean 'after'?"),
    ("    ptc: {", "    qqq: {", "recipe.losses.qqq", "known are: classification, "),
    ("    vit: {}", "    vit: {dept: 4}", "recipe.model.vit.dept", "did you mean 'depth'?"),
    ("    infer: {size: 256}", "    infr: {size: 256}", "datasets.acdc.infr", "did you mean 'infer'?"),
    ("      augmented: zip", "      augmentd: zip", "datasets.voc.data.augmentd", "'augmented'?"),
    # wrong types: nothing is converted
    ("    seed: 7", "    seed: seven", "recipe.train.seed", "valid integer (it is 'seven')"),
    ("    batch: 4 ", "    batch: 4.5 ", "recipe.train.batch", "valid integer (it is 4.5)"),
    ("    workers: 8", "    workers: true", "recipe.train.workers", "valid integer (it is True)"),
    ("    flip: 0.5", "    flip: '0.5'", "recipe.train.flip", "valid number (it is '0.5')"),
    ("      use: true", "      use: 1", "recipe.model.uncertainty.use", "valid boolean (it is 1)"),
    ("    radius: 7", "    radius: null", "recipe.pseudo_label.radius", "valid integer (it is None)"),
    ("    ptc: {weight: 0.3, after: 0}", "    ptc: 0.3", "recipe.losses.ptc", "(it is 0.3)"),
    ("      mlp: [2048, 256]", "      mlp: [2048]", "recipe.model.uncertainty.mlp.1", "is missing"),
    # out of range
    ("    high: 0.7 ", "    high: 1.7 ", "recipe.pseudo_label.high", "less than or equal to 1 (it is 1.7)"),
    ("    batch: 4 ", "    batch: 0 ", "recipe.train.batch", "greater than 0 (it is 0)"),
    ("    lr: 6.0e-5", "    lr: .inf", "recipe.train.lr", "finite number"),
    ("    lr: 6.0e-5", "    lr: .nan", "recipe.train.lr", "(it is nan)"),
    ("classification: {weight: 1.0}", "classification: {weight: -1.0}", "recipe.losses.classification.weight",
     "greater than or equal to 0"),
    ("cam_scales: [1, 0.5, 0.75, 1.5]", "cam_scales: []", "recipe.pseudo_label.cam_scales", "at least 1"),
    ("cam_scales: [1, 0.5, 0.75, 1.25, 1.5]", "cam_scales: [1, -2]",
     "datasets.coco.pseudo_label.cam_scales.1", "greater than 0 (it is -2)"),
    ("jitter: [0.4, 0.4, 0.2, 0.1]", "jitter: [0.4, 0.4, 0.2, 0.9]", "recipe.train.jitter.3", "equal to 0.5"),
    # no such choice
    ("token_resize: nearest", "token_resize: cubic", "recipe.pseudo_label.token_resize",
     "'nearest' or 'bilinear' (it is 'cubic')"),
    ("filter: lattice", "filter: latice", "recipe.losses.energy.filter", "'lattice' or 'exact'"),
    ("size: full", "size: medium", "size", "full or small (it is 'medium')"),
    (
        "run: [shapes]",
        "run: [shape]",
        "run",
        "list of datasets (shapes, voc, voc_cpu, coco, acdc, acdc_cpu, acdc_lv_cpu)",
    ),
    ("run: [shapes]", "run: shapes", "run", "list of datasets"),
    # no mapping where one belongs
    ("  crf: {}\n\ndatasets", "  crf: []\n\ndatasets", "small.crf", "must be a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "key", "reason"), AT_THE_LINE)
def test_refused_at_its_line(right: str, wrong: str, key: str, reason: str, tmp_path: Path) -> None:
    path, line = changed(tmp_path, right, wrong)
    message = refusal(path)
    assert message.startswith(f"{path}:{line}: {key}: ")
    assert reason in message


@pytest.mark.parametrize(("text", "number"), [("6e-5", "6.0e-05"), ("1e3", "1.0e+03"), ("-6.e5", "-6.0e+05")])
def test_a_number_that_yaml_takes_for_text_is_spelt_out(text: str, number: str, tmp_path: Path) -> None:
    path, _ = changed(tmp_path, "    lr: 6.0e-5 ", f"    lr: {text} ")
    assert f"YAML reads {text} as text: write {number}" in refusal(path)
    assert yaml.safe_load(number) == float(text)


# (..., what holds the problem): keys that contradict each other or are not there
AT_WHAT_HOLDS_IT = [
    ("    power: 0.9\n", "", "recipe.train.power", "is missing"),
    ("      percentiles: [0, 99.5]", "      other: 0", "datasets.acdc.data.other", "known are: problems"),
    ("      seed: 0\n      percentiles", "      percentiles", "datasets.acdc.data.seed", "is missing"),
    ("    infer: {size: 256}\n", "", "datasets.acdc", "lacks the section infer; write `infer: {}`"),
    ("      kind: voc", "      kind: vok", "datasets.voc.data", "'vok'"),
    ("      kind: voc\n", "", "datasets.voc.data", "'kind'"),
    ("percentiles: [0, 99.5]", "percentiles: [99, 2]", "datasets.acdc.data", "the first must be below"),
    ("high: 0.6, low: 0.3,", "high: 0.6, low: 0.7,", "datasets.acdc.pseudo_label", "low: 0.7 must be below"),
    ("    accumulate: 1  ", "    accumulate: 16", "datasets.voc.train", "16 must divide batch: 4"),
    ("      hidden: 1024", "      hidden: 1000", "recipe.model.uncertainty",
     "heads: 16 must divide hidden: 1000"),
    ("      use: true", "      use: false", "datasets.shapes", "losses.distribution.weight: 0"),
    ("    vit: {}", "    vit: {patch_size: 13}", "datasets.voc", "train.crop: 448 is no multiple"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "key", "reason"), AT_WHAT_HOLDS_IT)
def test_refused_where_it_belongs(right: str, wrong: str, key: str, reason: str, tmp_path: Path) -> None:
    path, _ = changed(tmp_path, right, wrong)
    message = refusal(path)
    place, _, rest = message.removeprefix(f"{path}:").partition(": ")
    assert rest.startswith(f"{key}: ")
    assert reason in rest
    # the line is that of the key, or of the deepest thing above it that is there
    named = path.read_text(encoding="utf-8").splitlines()[int(place) - 1].split(":")[0].strip()
    assert named in key.split(".")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must be a mapping"),
        ("- 1", "must be a mapping"),
        ("size: full\n", "run: is missing"),
        ("size: [full", "not valid YAML"),
        ("size: full\nrun: []\nsize: small\n", "3: size: stands in line 1 already"),
        ("size: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_other_documents_are_refused(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    message = refusal(path)
    assert message.startswith(f"{path}:")
    assert reason in message


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    assert "--params FILE" in refusal(tmp_path / "absent.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in refusal(tmp_path / "bytes.yaml")


def test_an_unknown_dataset() -> None:
    with pytest.raises(
        UserError, match=r"'cityscapes'.* there are: shapes, voc, voc_cpu, coco, acdc, acdc_cpu, acdc_lv_cpu"
    ):
        load(FILE).recipe("cityscapes")


def test_small_is_laid_over_every_dataset() -> None:
    full, small = load(FILE), load(FILE, ["size=small"])
    assert (full.size, small.size) == ("full", "small")
    for name in ("voc", "coco", "acdc"):
        recipe = small.recipe(name)
        assert recipe.train.iterations == 500
        assert recipe.model.vit.patch_size == 8
        assert recipe.train.crop == recipe.infer.size == 64
        # what small does not name stays the dataset's own
        assert recipe.data == full.recipe(name).data
        assert recipe.pseudo_label.high == full.recipe(name).pseudo_label.high
        assert recipe.losses.ptc.weight == full.recipe(name).losses.ptc.weight
        assert recipe.losses.ptc.after == 400


def test_settings_are_laid_over_the_file() -> None:
    settings = [
        "recipe.crf.iterations=5",
        "datasets.voc.train.batch=6",
        "datasets.coco.pseudo_label.cam_scales=[1, 2]",
        "datasets.voc.losses.energy={weight: 0, filter: exact}",
        "run=[voc, coco]",
    ]
    params = load(FILE, settings)
    assert params.run == ["voc", "coco"]
    assert params.recipe("shapes").crf.iterations == 5
    voc = params.recipe("voc")
    assert (voc.train.batch, params.recipe("coco").train.batch) == (6, 8)
    assert params.recipe("coco").pseudo_label.cam_scales == (1, 2)
    assert (voc.losses.energy.weight, voc.losses.energy.filter) == (0, "exact")
    assert voc.losses.energy.sigma_xy == 100  # mappings merge
    last = load(FILE, ["recipe.crf.iterations=5", "recipe.crf.iterations=7"])
    assert last.recipe("voc").crf.iterations == 7


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("recipe.crf", "must read KEY=VALUE"),
        ("=5", "must read KEY=VALUE"),
        ("recipe.crf.iterations=[", "not valid YAML"),
        ("recipe.crf.iteratons=5", "recipe.crf.iteratons: unknown key; did you mean 'iterations'?"),
        ("recipe.crf.iterations=five", "recipe.crf.iterations: "),
        ("datasets=3", "datasets: must name at least one dataset"),
        ("recipe=5", "recipe: must be a mapping"),
        ("datasets.shapes=null", "datasets.shapes: must be a mapping"),
        ("datasets.voc.data.kind=coco", "datasets.voc.data.augmented: unknown key"),
        ("datasets.vox.train={}", "datasets.vox: lacks the section data"),
    ],
)
def test_bad_settings_are_refused(setting: str, reason: str) -> None:
    assert reason in refusal(FILE, (setting,))


def test_settings_between_there_and_back(tmp_path: Path) -> None:
    """Whatever changed in the file, the settings change in the parameters."""
    changes = {
        "run: [shapes]": "run: [voc, acdc]",
        "    seed: 7": "    seed: 11",
        "    lr: 6.0e-5": "    lr: 1.0e-7",
        "cam_scales: [1, 0.5, 0.75, 1.5]": "cam_scales: [1, 0.5]",
        "    weights: timm": "    weights: null",
        "      source: null": "      source: 'a folder: with = signs, [brackets]'",
        "    vit: {}": "    vit: {depth: 6}",
        "affinity: {weight: 0.05, after: 12000, mutual_after: 30000}": "affinity: {weight: 0.0}",
    }
    text = TEXT
    for right, wrong in changes.items():
        assert right in text
        text = text.replace(right, wrong, 1)
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    # a key that was only taken away has no setting; here the recipe's own value returns
    document = yaml.safe_load(text)
    document["datasets"]["coco"]["losses"]["affinity"] |= {"after": 0, "mutual_after": None}
    settings = settings_between(yaml.safe_load(TEXT), document)
    assert len(settings) == 10
    by_settings, by_file = load(FILE, settings), load(path)
    assert by_settings.runs == by_file.runs
    for run in by_file.runs:
        assert by_settings.recipe(run) == by_file.recipe(run)
    assert by_settings.run == by_file.run
    assert settings_between(document, document) == []


def test_a_variant_that_nobody_runs_does_not_stop_a_dataset_that_it_does_not_suit() -> None:
    """Its values may contradict the dataset's; a mistake in it is told all the same."""
    patches_of_14 = [
        "datasets.voc.model.backbone=vit_base_patch14_dinov2.lvd142m",
        "datasets.voc.train.crop=448",
        "datasets.voc.infer.size=504",  # the variant small_backbone has patches of 16
    ]
    params = load(FILE, patches_of_14)
    assert params.recipe("voc").infer.size == 504
    with pytest.raises(UserError, match=r"infer\.size: 504 .* no multiple of the ViT's patch: 16"):
        params.recipe("voc/small_backbone/7")
    with pytest.raises(UserError, match="did you mean 'backbone'"):
        load(FILE, [*patches_of_14, "variants.small_backbone.model.backbon=3"])


@pytest.mark.parametrize(
    ("settings", "run", "told"),
    [
        (["recipe.infer.size=512"], "voc", []),
        (["recipe.infer.size=512"], "acdc", [("recipe.infer.size", "datasets.acdc.infer.size")]),
        (["recipe={infer: {size: 512}}"], "acdc", [("recipe.infer.size", "datasets.acdc.infer.size")]),
        (["datasets.acdc.infer.size=512"], "acdc", []),
        (["datasets.acdc.infer.size=512", "size=small"], "acdc", [("datasets.acdc.infer.size", "small.infer.size")]),  # noqa: E501
        (["recipe.train.batch=4"], "acdc", []),  # not what is asked about
        (["variants.full={infer: {batch: 3}}", "datasets.shapes.infer.batch=4"], "shapes/full/1", []),
        (["recipe.infer.batch=4"], "shapes/full/1", [("recipe.infer.batch", "datasets.shapes.infer.batch")]),
    ],
)  # fmt: skip
def test_a_setting_without_effect_is_found(
    settings: list[str], run: str, told: list[tuple[str, str]]
) -> None:
    assert list(load(FILE, settings).without_effect(run, ["infer", "crf"])) == told


def test_every_section_is_read_by_a_step() -> None:
    assert {section for sections in STEPS.values() for section in sections} == set(Recipe.model_fields)


def recipe(name: str) -> Recipe:
    return load(FILE).recipe(name)


def table(name: str) -> dict[str, object]:
    """A dataset's recipe in the rows of the method's table (section 5)."""
    r = recipe(name)
    losses = r.losses
    weighted = ("ptc", "affinity", "distribution", "segmentation", "energy")
    return {
        "crop": r.train.crop,
        "batch": r.train.batch,
        "iterations": r.train.iterations,
        "scales": r.pseudo_label.cam_scales,
        "thresholds": (r.pseudo_label.high, r.pseudo_label.low, r.pseudo_label.background),
        "weights": tuple(getattr(losses, loss).weight for loss in weighted),
        "after": tuple(getattr(losses, loss).after for loss in weighted),
        "mutual": tuple(
            getattr(losses, loss).mutual_after for loss in ("affinity", "distribution", "segmentation")
        ),
        "seed": r.train.seed,
    }


def test_published_recipe_of_voc() -> None:
    assert table("voc") == {
        "crop": 448,
        "batch": 4,
        "iterations": 20000,
        "scales": (1, 0.5, 0.75, 1.5),
        "thresholds": (0.7, 0.25, 0.5),
        "weights": (0.3, 0.1, 0.1, 0.15, 0.05),
        "after": (0, 0, 0, 2000, 2000),
        "mutual": (None, 8000, None),
        "seed": 7,
    }


def test_published_recipe_of_coco() -> None:
    assert table("coco") == {
        "crop": 448,
        "batch": 2 * 4,
        "iterations": 80000,
        "scales": (1, 0.5, 0.75, 1.25, 1.5),
        "thresholds": (0.65, 0.25, 0.45),
        "weights": (0.2, 0.05, 0.1, 0.12, 0.05),
        "after": (8000, 12000, 0, 16000, 16000),
        "mutual": (30000, 30000, 30000),
        "seed": 0,
    }


@pytest.mark.parametrize("name", ["voc", "coco"])
def test_what_the_published_recipes_share(name: str) -> None:
    r = recipe(name)
    assert r.model.backbone == "vit_base_patch16_224.orig_in21k_ft_in1k"
    inference, decoder = r.model.uncertainty, r.model.decoder
    assert (inference.use, inference.mean_mlp, inference.damping) == (True, "shared", "inferred")
    assert (inference.hidden, inference.heads, inference.pooling) == (1024, 16, 4)
    assert (inference.mlp, decoder.channels, decoder.dilation) == ((2048, 256), 512, 5)
    assert (r.pseudo_label.par_iterations, r.pseudo_label.radius, r.pseudo_label.late_after) == (10, 7, 6000)
    assert r.pseudo_label.par_dilations == (1, 2, 4, 8, 12, 24)
    assert (r.losses.classification.weight, r.losses.classification_aux.weight) == (1, 1)
    assert r.losses.distribution.samples == 50
    energy = r.losses.energy
    assert (energy.sigma_rgb, energy.sigma_xy, energy.scale, energy.filter) == (15, 100, 0.5, "lattice")
    assert (r.train.lr, r.train.head_lr, r.train.weight_decay) == (6e-5, 6e-4, 0.01)
    assert (r.train.warmup, r.train.warmup_ratio, r.train.power) == (1500, 1e-6, 0.9)
    assert (r.train.crop_scale, r.train.flip) == ((0.32, 1), 0.5)
    assert (r.train.jitter, r.train.jitter_probability) == ((0.4, 0.4, 0.2, 0.1), 0.5)
    assert not r.train.train_affinity_bias
    assert (r.infer.size, r.infer.scales) == (448, (1, 1.25, 1.5))
    crf = r.crf
    assert (crf.iterations, crf.gaussian_sxy, crf.gaussian_compat) == (10, 1, 1)
    assert (crf.bilateral_sxy, crf.bilateral_srgb, crf.bilateral_compat) == (121, 5, 4)


def test_a_run_of_an_ablation_is_its_dataset_changed() -> None:
    settings = ["ablations.shapes.changes={train: {iterations: 30}}", "ablations.shapes.seeds=[4]"]
    params = load(Path("params.yaml"), settings)
    base, run = params.recipe("shapes"), params.recipe("shapes/no_energy/4")
    assert run.losses.energy.weight == 0
    assert (run.train.iterations, run.train.seed) == (30, 4)
    assert run.losses.ptc == base.losses.ptc
    assert run.data == base.data
    with pytest.raises(UserError, match="no dataset or run 'shapes/no_energy/5'"):
        params.recipe("shapes/no_energy/5")


def recipes(setting: str) -> list[Recipe]:
    """Those of all runs, in use or not."""
    params = load(Path("params.yaml"), [setting])
    return [params.recipe(run) for run in params.runs]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("ablations.shapes.seed=[1]", "ablations.shapes.seed: unknown key; did you mean 'seeds'?"),
        ("ablations.shapes.seeds=[1, 1]", "ablations.shapes: .*each may be named once"),
        ("ablations.shapes.seeds=[a]", "ablations.shapes.seeds.0: .*integer"),
        ("ablations.shapes.variants=[full, no_enrgy]", "variants: unknown key; did you mean 'no_energy'?"),
        ("ablations.shaps={}", "ablations.shaps: unknown key; did you mean 'shapes'?"),
        ("ablations.shapes.changes={trin: {}}", "changes.trin: unknown key; did you mean 'train'?"),
        ("variants.odd={crf: {iteratins: 3}}", "variants.odd.crf.iteratins: unknown key"),
        ("variants.full={model: {uncertainty: {hidden: 3}}}", "uncertainty: heads: 4 must divide hidden: 3"),
        ("variants.train={}", "variants.train: must be a plain name"),
        ("variants={a/b: {}}", "variants.a/b: must be a plain name"),
        ("variants.full=3", "variants.full: must be a mapping"),
    ],
)  # fmt: skip
def test_a_wrong_ablation_is_refused_by_its_key(setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")) as caught:
        recipes(setting)
    assert "\n" not in str(caught.value)
