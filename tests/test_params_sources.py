"""params.yaml: which files and addresses of the user's it may name."""

from pathlib import Path

import pytest
from refusal import FILE, refusal

from unia.config import load
from unia.recipe import SECTIONS


@pytest.mark.parametrize("dataset", ["voc", "coco", "acdc", "own"])
@pytest.mark.parametrize(
    "source",
    [
        "data/{}", "./data/{}/images", "data/../data/{}", "data", ".", "/", "data/shapes", "data/raw/{}",
        "results", "results/{}/val", "{there}/data/{}", "linked/{}",
    ],
)  # fmt: skip
def test_a_source_among_what_steps_write_is_refused(
    dataset: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linked").symlink_to("data", target_is_directory=True)
    named = source.replace("{there}", str(tmp_path)).format(dataset)
    empty = ", ".join(f"{section}: {{}}" for section in SECTIONS)
    own = f"datasets.own={{data: {{kind: images, source: elsewhere, classes: [a]}}, {empty}}}"
    said = refusal(FILE, (own, f"datasets.{dataset}.data.source={named}"))
    assert f"datasets.{dataset}.data.source: " in said
    assert ", which the steps write and empty; move it elsewhere, and name that" in said


@pytest.mark.parametrize(
    "source", ["elsewhere", "data/elsewhere", "data/raw/voc_archives", "data/voc2", "../data/voc"]
)
def test_a_source_beside_what_steps_write_is_taken(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    load(FILE, (f"datasets.voc.data.source={source}",))


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("datasets.voc.data.mirrors=['file:///{}/data/voc']", "datasets.voc.data.mirrors"),
        ("recipe.model.weights=data/voc/vit.safetensors", "recipe.model.weights"),
        ("datasets.voc.model.weights=results/vit.pth", "datasets.voc.model.weights"),
        ("variants.full={{model: {{weights: results/vit.pth}}}}", "variants.full.model.weights"),
    ],
)
def test_weights_and_mirrors_among_what_steps_write_are_refused(
    setting: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"{key}: " in refusal(FILE, (setting.format(tmp_path),))


def test_a_mirror_s_password_is_refused_and_not_shown() -> None:
    setting = "datasets.voc.data.mirrors=['https://me:s3cret@mirror.example.org/voc']"
    message = refusal(FILE, (setting,))
    assert "holds a password" in message
    assert "~/.netrc" in message
    assert "s3c" not in message
