"""Checkpoints: ours and the reference's, there and back, and what is refused."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from unia.config import load
from unia.errors import UserError
from unia.model import checkpoint
from unia.model.checkpoint import Header
from unia.model.network import UniA, build
from unia.recipe import Model

ROOT = Path(__file__).parents[2]
SHAPES = ROOT / "tests" / "golden" / "reference_state_dict.json"
COCO = tuple(f"class {k}" for k in range(1, 81))


def small_config(**changes: object) -> Model:
    model = load(ROOT / "params.yaml").recipe("shapes").model
    inference = model.uncertainty.model_copy(update={"hidden": 32, "mlp": (16, 8)})
    decoder = model.decoder.model_copy(update={"channels": 16})
    return model.model_copy(update={"uncertainty": inference, "decoder": decoder, **changes})


def small_model(classes: int = 20, seed: int = 0) -> UniA:
    torch.manual_seed(seed)
    return build(small_config(), classes)


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
        assert found[name].dtype == tensor.dtype


def test_names_and_shapes_are_the_references() -> None:
    expected = json.loads(SHAPES.read_text())
    with torch.device("meta"):
        model = build(load(ROOT / "params.yaml").recipe("voc").model, 20)
    state = model.state_dict()
    named = checkpoint.to_reference(state)
    assert {name: list(tensor.shape) for name, tensor in named.items()} == expected
    assert list(checkpoint.from_reference(named)) == list(state)


def save_voc(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save({f"module.{name}": tensor for name, tensor in tensors.items()}, path)


def save_coco(tensors: dict[str, Tensor], path: Path) -> None:
    optimiser = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 6e-5, "params": [0]}]}
    prefixed = {f"module.{name}": tensor for name, tensor in tensors.items()}
    torch.save(
        {"model_state_dict": prefixed, "step": 80000, "optimizer_state_dict": optimiser, "lr": 1e-9}, path
    )


def save_wrapped(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save({"state_dict": {f"net.{name}": tensor for name, tensor in tensors.items()}, "epoch": 9}, path)


@pytest.mark.parametrize(("save", "classes"), [(save_voc, 20), (save_coco, 80), (save_wrapped, 20)])
def test_a_reference_checkpoint_is_read(
    save: Callable[[dict[str, Tensor], Path], None], classes: int, tmp_path: Path
) -> None:
    original = small_model(classes)
    save(checkpoint.to_reference(original.state_dict()), tmp_path / "reference.pth")
    tensors = checkpoint.from_reference(checkpoint.read_state_dict(tmp_path / "reference.pth"))
    assert_equal(tensors, dict(original.state_dict()))
    other = small_model(classes, seed=1)
    checkpoint.load_tensors(other, tensors, "reference.pth")
    assert_equal(dict(other.state_dict()), dict(original.state_dict()))


def test_there_and_back(tmp_path: Path) -> None:
    model, config = small_model(80), small_config()
    header = Header(config, COCO, "coco", 1234, 448, None)
    checkpoint.save_checkpoint(model, header, tmp_path / "model.safetensors")
    assert checkpoint.read_header(tmp_path / "model.safetensors") == header
    loaded = checkpoint.load(tmp_path / "model.safetensors")
    assert not loaded.training
    assert_equal(dict(loaded.state_dict()), dict(model.state_dict()))


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    header = Header(small_config(), COCO[:3], "voc", 5, 448, 64)
    for name in ("first", "second"):
        checkpoint.save_checkpoint(small_model(3), header, tmp_path / name)
    checkpoint.save_checkpoint(small_model(3, seed=1), header, tmp_path / "other")
    first, second, other = ((tmp_path / name).read_bytes() for name in ("first", "second", "other"))
    assert first == second
    assert first != other


class Hostile:
    """Unpickled, it would create a file."""

    def __init__(self, witness: Path):
        self.witness = witness

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.witness,)


def test_a_hostile_pickle_is_refused(tmp_path: Path) -> None:
    witness = tmp_path / "it ran"
    plain, zipped = tmp_path / "plain.pth", tmp_path / "zipped.pth"
    plain.write_bytes(pickle.dumps({"module.x": Hostile(witness)}, protocol=2))
    torch.save({"module.x": Hostile(witness)}, zipped)
    for path in (plain, zipped):
        with pytest.raises(UserError, match="refused") as caught:
            checkpoint.read_state_dict(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not witness.exists()
    torch.load(zipped, weights_only=False)
    assert witness.exists()  # so the test could have failed


@pytest.mark.parametrize("content", [[1, 2], {"x": 3}, {"model_state_dict": 5}])
def test_what_is_no_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match="no state dict"):
        checkpoint.read_state_dict(tmp_path / "x.pth")


def test_cut_short_empty_and_absent_files_are_refused(tmp_path: Path) -> None:
    save_voc({"x": torch.zeros(1000)}, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    for name in ("cut.pth", "empty.pth", "absent.pth"):
        with pytest.raises(UserError, match=name):
            checkpoint.read_state_dict(tmp_path / name)


def test_every_problem_is_named() -> None:
    model = small_model(3)
    tensors = dict(model.state_dict())
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    del tensors["decoder.conv1.weight"]
    tensors["decoder.conv9.weight"] = torch.zeros(1)
    tensors["classifier.weight"] = torch.zeros(4, 96, 1, 1)
    with pytest.raises(UserError) as caught:
        checkpoint.load_tensors(model, tensors, "some.pth")
    message = str(caught.value)
    assert message.startswith("some.pth: ")
    assert "decoder.conv1.weight is missing" in message
    assert "decoder.conv9.weight is unknown" in message
    assert "classifier.weight is (4, 96, 1, 1), not (3, 96, 1, 1)" in message
    assert "\n" not in message
    assert_equal(dict(model.state_dict()), before)


def test_many_problems_stay_one_line() -> None:
    with pytest.raises(UserError, match=r"and \d+ more$") as caught:
        checkpoint.load_tensors(small_model(3), {}, "some.pth")
    assert str(caught.value).count(" is missing") == 10


def test_no_checkpoint_of_ours(tmp_path: Path) -> None:
    save_voc({"x": torch.zeros(2)}, tmp_path / "reference.pth")
    (tmp_path / "text").write_text("hello")
    for name, hint in (
        ("reference.pth", "unia checkpoint import"),
        ("text", "unia checkpoint import"),
        ("absent", "train first"),
    ):
        with pytest.raises(UserError, match=hint):
            checkpoint.read_header(tmp_path / name)


def test_a_backbone_alone(tmp_path: Path) -> None:
    """From timm's tensors; everything else stays."""
    source, model = small_model(3, seed=1), small_model(3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.save(source.backbone.vit.state_dict(), tmp_path / "vit.pth")
    checkpoint.load_backbone(model, tmp_path / "vit.pth")
    expected = {
        name: source.state_dict()[name] if name.startswith("backbone.") else tensor
        for name, tensor in before.items()
    }
    assert_equal(dict(model.state_dict()), expected)
