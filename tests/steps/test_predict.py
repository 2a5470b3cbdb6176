"""Any images, segmented: the same as `unia infer` where both can, and nothing stops the others."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from smallest import NETWORK
from stored import COLOUR, write_png, write_tiff

from unia.cli import main
from unia.config import load
from unia.data.samples import read_mask, voc_palette, write_label
from unia.errors import UserError
from unia.model.checkpoint import Header, save_checkpoint
from unia.model.network import build
from unia.steps.download import download
from unia.steps.infer import infer
from unia.steps.predict import overlay, read
from unia.steps.prepare import prepare

PARAMS = Path(__file__).parents[2] / "params.yaml"
SETTINGS = (
    *NETWORK,
    "datasets.shapes.data={kind: shapes, size: 32, train: 4, val: 3, seed: 0}",
)
KILLED = """
import os, signal, sys
from PIL import Image
from unia.cli import main
save, left = Image.Image.save, [{written}]
def cut_off(*arguments, **more):
    save(*arguments, **more)
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
Image.Image.save = cut_off
sys.argv = {arguments}
main()
"""
CLASSES = ("disc", "square", "triangle", "ring", "cross", "star")


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network as it starts, in the working directory."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = load(PARAMS, SETTINGS).recipe("shapes").model
    path = Path("checkpoint.safetensors")
    save_checkpoint(build(model, len(CLASSES)), Header(model, CLASSES, "shapes", 1, 32, None), path)
    return path


def predict(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """`unia predict` in float32, as these tests infer; its exit code."""
    monkeypatch.setattr(sys, "argv", ["unia", "predict", *arguments, "--precision", "float32"])
    with pytest.raises(SystemExit) as exit:
        main()
    return int(exit.value.code or 0)


def predictions(out: str) -> dict[str, dict[str, Any]]:
    written = json.loads(Path(out, "predictions.json").read_text())
    return {entry["image"]: entry for entry in written["images"]}


def test_a_folder_is_segmented_as_infer_does(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load(PARAMS, SETTINGS).recipe("shapes")
    download("shapes", recipe.data, Path("raw.json"))
    prepare("shapes", recipe.data, Path("raw.json"), Path("data"))
    infer(recipe.pseudo_label, recipe.infer, Path("data"), "val", checkpoint, Path("inferred"))
    folder = next(Path("raw").rglob("JPEGImages"))
    scales = [part for scale in recipe.infer.scales for part in ("--scale", str(scale))]
    arguments = (str(folder), "--checkpoint", str(checkpoint), "--out", "out", *scales)
    assert predict(monkeypatch, *arguments) == 0
    found = predictions("out")
    assert len(found) == 7
    for path in Path("inferred/seg_ms").iterdir():
        label = read_mask(Path("out/masks") / path.name)
        assert (label == read_mask(path)).mean() > 0.999
        assert Image.open(Path("out/masks") / path.name).getpalette() == list(voc_palette())
        entry = found[str(folder / f"{path.stem}.jpg")]
        areas = {area["id"]: (area["class"], area["pixels"]) for area in entry["classes"]}
        expected = {k: (CLASSES[k - 1], int((label == k).sum())) for k in np.unique(label) if k > 0}
        assert areas == expected
        assert np.asarray(Image.open(Path("out/uncertainty") / path.name)).shape == label.shape


def test_any_mode_and_size_and_what_cannot_be_read(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    folder = Path("photos")
    folder.mkdir()
    Path("storage").mkdir()
    (folder / "deep").symlink_to(Path("storage").resolve())
    Path("storage/circle").symlink_to(folder.resolve())
    sizes = {"L": (40, 30), "RGBA": (1, 1), "P": (33, 200), "1": (64, 20), "CMYK": (17, 16), "LA": (9, 90)}
    for mode, (height, width) in sizes.items():
        noise = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        noise.convert(mode).save(folder / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}")
    Image.fromarray(rng.integers(0, 4096, (50, 40), dtype=np.uint16)).save(folder / "deep" / "P.tif")
    (folder / "notes.txt").write_text("no image, and not asked for")
    (folder / "cut.png").write_bytes((folder / "P.png").read_bytes()[:300])
    arguments = ("photos", "absent.jpg", "--checkpoint", str(checkpoint), "--out", "photos/out")
    assert predict(monkeypatch, *arguments) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "absent.jpg: no such file" in said
    assert "2 of 9 images could not be read, the others are in photos/out: photos/cut.png, absent.jpg" in said
    found = predictions("photos/out")
    assert {(entry["height"], entry["width"]) for entry in found.values()} == {*sizes.values(), (50, 40)}
    assert {path.stem for path in Path("photos/out/masks").iterdir()} == {*sizes, "deep_P"}
    assert predict(monkeypatch, *arguments) == 1
    assert predictions("photos/out").keys() == found.keys()  # its own results are no images to segment


def test_what_else_lies_in_a_folder_is_passed_over_and_told(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("day/one.png", "day/two.JPG"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 20)).save(name)
    for name in ("clip.mpg", "clip.mp4", "depth.h5", "photo.heic", "README"):
        Path("day", name).write_bytes(b"\x89HDF\r\n\x1a\n" if name.endswith("h5") else b"\0\0\1\xb3")
    assert predict(monkeypatch, "day", "--checkpoint", str(checkpoint), "--out", "out") == 0
    assert predictions("out").keys() == {"day/one.png", "day/two.JPG"}
    said = " ".join(capsys.readouterr().err.split())
    assert "day: passes over 5 of its files, which are no images that it reads" in said
    assert "(.h5, .heic, .mp4, .mpg, no ending)" in said


def test_a_photo_is_segmented_upright(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upright = np.random.default_rng(0).integers(0, 256, (40, 24, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right to see it
    Image.fromarray(np.rot90(upright)).save("turned.png", exif=exif)
    Image.fromarray(upright).save("upright.png")
    Image.fromarray(np.rot90(upright[..., 0].astype(np.uint16) * 256)).save("deep.tif", exif=exif)
    arguments = ("turned.png", "upright.png", "deep.tif", "--checkpoint", str(checkpoint), "--out", "out")
    assert predict(monkeypatch, *arguments) == 0
    assert {(entry["height"], entry["width"]) for entry in predictions("out").values()} == {(40, 24)}
    for kind in ("masks", "overlays", "uncertainty"):
        turned, straight = (Image.open(f"out/{kind}/{name}.png") for name in ("turned", "upright"))
        np.testing.assert_array_equal(np.asarray(turned), np.asarray(straight))


def test_pixels_that_are_no_numbers_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.array([[1, 2], [3, np.nan], [np.inf, 1]], dtype=np.float32)
    Image.fromarray(values).save(tmp_path / "deep.tif")
    np.testing.assert_array_equal(read(tmp_path / "deep.tif")[..., 0], [[0, 128], [255, 0], [0, 0]])
    assert "2 pixels are NaN or infinite" in " ".join(capsys.readouterr().err.split())
    Image.fromarray(np.full((2, 2), np.nan, np.float32)).save(tmp_path / "none.tif")
    with pytest.raises(UserError, match=r"none\.tif: no pixel is a finite number"):
        read(tmp_path / "none.tif")


def test_equal_names_get_numbers(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/one.png", "b/one.png"):
        Path(name).parent.mkdir()
        Image.new("RGB", (20, 20)).save(name)
    arguments = ("a/one.png", "b/one.png", "--checkpoint", str(checkpoint), "--out", "out")
    assert predict(monkeypatch, *arguments) == 0
    names = {image: entry["name"] for image, entry in predictions("out").items()}
    assert names == {"a/one.png": "one", "b/one.png": "one_2"}


def test_masks_of_others_are_not_overwritten(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A dataset's own folder named as --out: its masks have the images' names."""
    for name in ("images", "masks"):
        Path("flowers", name).mkdir(parents=True)
        Image.new("L", (40, 40), 1).save(f"flowers/{name}/0001.png")
    mask = Path("flowers/masks/0001.png").read_bytes()
    arguments = ("flowers/images", "--checkpoint", str(checkpoint), "--out")
    assert predict(monkeypatch, *arguments, "flowers") == 1
    assert "unia: flowers/masks/0001.png: is not what `unia predict`" in capfd.readouterr().err
    assert Path("flowers/masks/0001.png").read_bytes() == mask

    def cut_off(*_: object) -> None:
        raise OSError("planted")

    with monkeypatch.context() as patch:
        patch.setattr("unia.files.write_text", cut_off)
        assert predict(monkeypatch, *arguments, "out") != 0
    for _ in range(2):
        assert predict(monkeypatch, *arguments, "out") == 0
    assert not list(Path("out").glob(".*"))


def tree(folder: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
    }


def test_the_checkpoint_says_at_what_scale(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever params.yaml says today, or another folder's: there may be none."""
    photos("one")
    arguments = ("photos", "--checkpoint", str(checkpoint), "--out", "out")
    assert predict(monkeypatch, *arguments) == 0
    written = json.loads(Path("out/predictions.json").read_text())["infer"]
    assert written == {"crop": 32, "tile": None, "scales": [1.0, 1.25, 1.5], "precision": "float32"}
    before = tree("out/masks")
    Path("params.yaml").write_text("no parameters")
    assert predict(monkeypatch, *arguments) == 0
    assert tree("out/masks") == before
    assert predict(monkeypatch, *arguments, "--scale", "1", "--scale", "0.7") == 1
    assert "--scale 0.7: 32 pixels, at which the network was trained, become 22.4" in capsys.readouterr().err
    for scale in ("nan", "inf", "-1", "1e12"):
        assert predict(monkeypatch, *arguments, "--scale", scale) == 1
        assert f"--scale {float(scale):g}: 32 pixels" in capsys.readouterr().err


def test_a_network_of_tiles_sees_each_image_through_windows_as_large(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its header alone tells the two apart."""
    photos("one", "two")
    torch.manual_seed(0)
    model = load(PARAMS, SETTINGS).recipe("shapes").model
    tiles = Path("tiles.safetensors")
    save_checkpoint(build(model, len(CLASSES)), Header(model, CLASSES, "shapes", 1, 32, 8), tiles)
    for name, path in (("whole", checkpoint), ("tiles", tiles)):
        assert predict(monkeypatch, "photos", "--checkpoint", str(path), "--out", name) == 0
    assert tree("whole/uncertainty") != tree("tiles/uncertainty")


def photos(*names: str) -> None:
    Path("photos").mkdir()
    for number, name in enumerate(names):
        Image.new("RGB", (40, 30), (60 * number, 0, 0)).save(f"photos/{name}.png")


def of_seed(seed: int) -> str:
    """Another network's checkpoint."""
    torch.manual_seed(seed)
    model = load(PARAMS, SETTINGS).recipe("shapes").model
    path = Path(f"{seed}.safetensors")
    save_checkpoint(build(model, len(CLASSES)), Header(model, CLASSES, "shapes", 1, 32, None), path)
    return str(path)


def test_a_run_leaves_what_it_made_and_nothing_older(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture was deleted since, another one cannot be read any more."""
    photos("one", "two", "three")
    assert predict(monkeypatch, "photos", "--checkpoint", str(checkpoint), "--out", "out") == 0
    Path("photos/two.png").unlink()
    Path("photos/three.png").write_bytes(b"broken")
    for out in ("out", "fresh"):
        assert predict(monkeypatch, "photos", "--checkpoint", of_seed(1), "--out", out) == 1
    assert {path.name for path in Path("out").rglob("*.png")} == {"one.png"}
    assert tree("out") == tree("fresh")


def test_a_killed_run_leaves_no_table_and_is_made_good(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it writes one of its files, over older results: each file once."""
    photos("one", "two")
    arguments = ["photos", "--checkpoint", of_seed(1), "--precision", "float32"]
    assert predict(monkeypatch, "photos", "--checkpoint", of_seed(1), "--out", "fresh") == 0
    for written in (0, 1, 4):
        out = f"out{written}"
        assert predict(monkeypatch, "photos", "--checkpoint", str(checkpoint), "--out", out) == 0
        code = KILLED.format(written=written, arguments=["unia", "predict", *arguments, "--out", out])
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
        assert not Path(out, "predictions.json").exists()
        assert predict(monkeypatch, "photos", "--checkpoint", of_seed(1), "--out", out) == 0
        assert tree(out) == tree("fresh")


@pytest.mark.parametrize("folder", ["masks", "overlays"])
@pytest.mark.parametrize("finished", [True, False])
def test_a_mask_that_somebody_corrected_or_added_stays(
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    folder: str,
    finished: bool,
) -> None:
    photos("one", "two")
    arguments = ("photos", "--checkpoint", str(checkpoint), "--out", "out")
    assert predict(monkeypatch, *arguments) == 0
    if not finished:
        with monkeypatch.context() as patch:
            patch.setattr("unia.files.write_text", lambda *_: sys.exit(9))
            assert predict(monkeypatch, *arguments) == 9
    for name in ("two", "more"):
        corrected = Path("out", folder, f"{name}.png")
        kept = corrected.read_bytes() if corrected.exists() else None
        write_label(corrected, np.full((30, 40), 3, np.uint8))
        before = tree("out")
        assert predict(monkeypatch, *arguments) == 1
        said = capfd.readouterr().err
        assert f"unia: {corrected}: is not what `unia predict`" in said
        assert "name another --out, or move it away\n" in said
        assert tree("out") == before
        corrected.unlink() if kept is None else corrected.write_bytes(kept)
    assert predict(monkeypatch, *arguments) == 0


@pytest.mark.parametrize("table", ["{}", "[1]", "no JSON", '{"images": []}'])
def test_a_table_of_others_or_of_an_older_version_stays(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], table: str
) -> None:
    """Whether its masks were corrected since is not known."""
    photos("one")
    Path("out").mkdir()
    Path("out/predictions.json").write_text(table)
    assert predict(monkeypatch, "photos", "--checkpoint", str(checkpoint), "--out", "out") == 1
    assert "unia: out/predictions.json: is not what `unia predict`" in capfd.readouterr().err
    assert Path("out/predictions.json").read_text() == table


def test_a_result_is_no_image_to_segment_into_its_own_place(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    photos("one")
    assert predict(monkeypatch, "photos", "--checkpoint", str(checkpoint), "--out", "out") == 0
    before = tree("out")
    assert predict(monkeypatch, "out/overlays/one.png", "--checkpoint", str(checkpoint), "--out", "out") == 1
    assert "out/overlays/one.png: lies where this run would write its results" in capfd.readouterr().err
    assert tree("out") == before


def test_sixteen_bits_keep_their_contrast(tmp_path: Path) -> None:
    values = np.array([[1000, 2000], [3000, 1000]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read(tmp_path / "deep.png")[..., 2], [[0, 128], [255, 0]])


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_colours_of_sixteen_bits_are_refused(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    photos("one")
    values = np.full((6, 8, 3), 3000)
    if name.endswith("tif"):
        write_tiff(Path("photos", name), values)
    else:
        write_png(Path("photos", name), values, 16, COLOUR)
    assert predict(monkeypatch, "photos", "--checkpoint", str(checkpoint), "--out", "out") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"unia: photos/{name}: has pixels of more than 8 bits (RGB); scale them to 0..255" in said
    assert predictions("out").keys() == {"photos/one.png"}


def test_an_overlay_colours_classes_only() -> None:
    image = np.full((1, 2, 3), 100, np.uint8)
    np.testing.assert_array_equal(
        overlay(image, np.array([[0, 1]], np.uint8)), [[[100, 100, 100], [114, 50, 50]]]
    )
