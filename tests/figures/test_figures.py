"""Figures of a run: what they show, and that every one of them is drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from smallest import NETWORK

from unia.config import load
from unia.errors import UserError
from unia.figures.about import about
from unia.figures.bars import class_bars
from unia.figures.co_occurrence import co_occurrence, false_activation, together
from unia.figures.curves import learning_curves
from unia.figures.maps import maps
from unia.figures.ranking import chosen, image_miou, worst
from unia.files import sha256, write_json
from unia.model.checkpoint import Header, save_checkpoint
from unia.model.network import UniA, build
from unia.model.uncertainty import uncertainty
from unia.steps.crf import crf
from unia.steps.download import download
from unia.steps.figures import LABELS, figures, image_figures, write_figures
from unia.steps.infer import infer
from unia.steps.prepare import prepare
from unia.steps.score import score

SETTINGS = (
    *NETWORK,
    "datasets.shapes.data={kind: shapes, size: 32, train: 4, val: 3, seed: 0}",
)
RECIPE = load(Path(__file__).parents[2] / "params.yaml", SETTINGS).recipe("shapes")
CLASSES = ("disc", "square", "triangle", "ring", "cross", "star")


def network() -> UniA:
    torch.manual_seed(0)
    return build(RECIPE.model, len(CLASSES)).eval()


IMAGES = """name,kind,class,tp,fp,fn
good,seg_ms_crf,background,8,0,0
good,seg_ms_crf,disc,4,0,0
bad,seg_ms_crf,background,1,1,2
bad,seg_ms_crf,disc,0,3,0
bad,seg_ms_crf,ring,1,0,3
bad,cam,ring,4,0,0
middle,seg_ms_crf,background,3,1,0
ignored,seg_ms_crf,disc,0,2,0
"""


def test_images_are_ranked_by_the_classes_that_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "images.csv"
    path.write_text(IMAGES)
    miou = image_miou(path)
    assert miou == pytest.approx({"good": 1, "bad": 0.25, "middle": 0.75})
    assert worst(miou, 2) == ["bad", "middle"]
    assert chosen(miou, 2) == ["good", "middle"]
    assert chosen(miou, 9) == ["good", "bad", "middle"]
    path.write_text("name,kind\na,seg_ms_crf\n")
    with pytest.raises(UserError, match=r"images\.csv: cannot be read"):
        image_miou(path)


def test_co_occurrence_and_false_activation() -> None:
    counts = np.array([[4.0, 1, 0], [1, 2, 0], [0, 0, 0]])  # images with both
    np.testing.assert_array_equal(together(counts), [[1, 0.25, 0], [0.5, 1, 0], [np.nan] * 3])
    confusion = np.array([[50.0, 5, 0, 0], [0, 15, 3, 0], [0, 0, 9, 0], [0, 0, 0, 0]])  # rows: truth
    expected = [[0.75, 0, 0], [0.25, 0.75, 0], [np.nan] * 3]  # a quarter of class 2's pixels are class 1's
    np.testing.assert_array_equal(false_activation(confusion), expected)


def test_the_highest_pairs_are_named(tmp_path: Path) -> None:
    confusion = [[50, 5, 0], [0, 15, 3], [0, 0, 9]]
    document = {"classes": ["a", "b"], "kinds": {"seg_ms_crf": {"confusion": confusion}}}
    write_json(tmp_path / "scores.json", document)
    write_json(tmp_path / "train.card.json", {"co_occurrence": [[4, 1], [1, 2]]})
    axes = co_occurrence(tmp_path / "scores.json", tmp_path).axes[0]
    named = [(text.get_text(), getattr(text, "xy")) for text in axes.texts]  # noqa: B009
    assert named == [("b on a", (50, 25)), ("a on b", (25, 0))]
    bars = class_bars(tmp_path / "scores.json").axes[0]
    widths = [bar.get_window_extent().width for bar in bars.patches]
    assert [100 * width / widths[0] * 50 / 55 for width in widths] == pytest.approx(
        [100 * 50 / 55, 100 * 15 / 23, 75]
    )


def test_learning_curves_say_what_is_off(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    path.write_text("iteration,loss,energy,ptc\n2,0.5,,\n4,0.25,-0.1,\n")
    figure = learning_curves(path)
    drawn = {cell.get_title(): cell for cell in figure.axes if cell.get_title()}
    np.testing.assert_array_equal(drawn["loss"].lines[0].get_xydata(), [[2, 0.5], [4, 0.25]])
    assert {name: [t.get_text() for t in cell.texts] for name, cell in drawn.items()} == {
        "loss": [],
        "energy": [],
        "ptc": ["off"],
    }
    with pytest.raises(UserError, match=r"none\.csv: cannot be read"):
        learning_curves(tmp_path / "none.csv")


def test_the_token_is_where_the_cam_is_strongest() -> None:
    model = network()
    image = torch.randn(3, 40, 24)
    labels = torch.tensor([0.0, 1, 0, 0, 1, 0])
    found = maps(model, image, labels, (32, 32), (1, 0.5))
    assert found.cam.shape == found.cam_aux.shape == (40, 24)
    assert found.affinity.shape == (4, 4)
    output = model(torch.nn.functional.interpolate(image[None], (32, 32), mode="bilinear"))
    place = 4 * found.token[0] + found.token[1]
    np.testing.assert_allclose(found.affinity.ravel(), output.affinity[0, place].detach(), rtol=1e-5)
    row, column = np.unravel_index(found.cam.argmax(), found.cam.shape)
    assert abs(4 * row / 40 - 0.5 - found.token[0]) <= 1
    assert abs(4 * column / 24 - 0.5 - found.token[1]) <= 1
    assert not maps(model, image, torch.zeros(6), (32, 32), (1,)).cam.any()


def test_a_token_left_out_is_uncertain() -> None:
    log_variance = torch.full((1, 6, 8), -30.0)
    log_variance[0, 4] = 30  # row 1, column 1 of 2 x 3
    np.testing.assert_allclose(uncertainty(log_variance[0], (2, 3)), [[0, 0, 0], [0, 1, 0]], atol=1e-6)


def test_every_figure_is_drawn_and_names_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw, data, out = Path("raw.json"), Path("data"), Path("out")
    download("shapes", RECIPE.data, raw)
    prepare("shapes", RECIPE.data, raw, data)
    checkpoint = Path("checkpoint.safetensors")
    save_checkpoint(
        network(), Header(RECIPE.model, CLASSES, "shapes", 1, RECIPE.train.crop, None), checkpoint
    )
    infer(RECIPE.pseudo_label, RECIPE.infer, data, "val", checkpoint, out)
    crf(RECIPE.crf, data, "val", out, Path("crf"))
    score(data, "val", out, Path("crf"), Path("scores.json"), Path("images.csv"))
    Path("losses.csv").write_text("iteration,loss\n2,0.5\n")
    of = about("shapes", "val", checkpoint)
    drawn = figures(Path("scores.json"), Path("losses.csv"), data, of)
    folders = {"mutual": out / "mutual", "seg_ms": out / "seg_ms", "crf": Path("crf")}
    drawn |= image_figures(
        RECIPE.pseudo_label, RECIPE.infer, data, "val", checkpoint, folders, Path("images.csv"), of
    )
    write_figures(drawn, Path("figures"))
    names = {"learning_curves", "class_iou", "confusion", "co_occurrence", "chosen", "worst"}
    names |= {"sizes", "thresholds", "wrong_pixels"}
    assert {path.stem for path in Path("figures").iterdir()} == names
    for name in names:
        assert np.asarray(Image.open(f"figures/{name}.png").convert("L")).std() > 5
        assert drawn[name].get_supxlabel() == f"shapes, val; checkpoint sha256 {sha256(checkpoint)[:12]}"
    heads = [cell.get_title() for cell in drawn["worst"].axes[: 6 + len(LABELS)]]
    assert heads == [
        *("image", "ground truth", "CAM", "auxiliary CAM", "uncertainty", "affinity"),
        *("pseudo label", "prediction", "after CRF"),
    ]
