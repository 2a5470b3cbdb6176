"""The whole ViT-B/16 network against the reference's outputs, with the weights drawn as there."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from reference_weights import draw_all
from torch import Tensor

from unia.config import load
from unia.data import normalise
from unia.model import backbone, cam, heads, network, segment, uncertainty
from unia.model.checkpoint import from_reference, load_tensors
from unia.model.network import UniA, build

pytestmark = [pytest.mark.golden, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SHAPES = ROOT / "tests" / "golden" / "reference_state_dict.json"
CROP = 128

Numbers = Mapping[str, Tensor]
Plant = Callable[[ModuleType, str, str], None]


@cache
def drawn_model() -> UniA:
    model = build(load(ROOT / "params.yaml").recipe("voc").model, 20)
    weights = draw_all(json.loads(SHAPES.read_text()))
    load_tensors(model, from_reference(weights), "the drawn weights")
    return model.eval()


@pytest.fixture
def numbers(golden_original: Callable[[str], Mapping[str, np.ndarray]]) -> Numbers:
    arrays = golden_original("network.npz")
    return {key: torch.from_numpy(value) for key, value in arrays.items() if value.dtype.kind == "f"}


@pytest.fixture
def model(numbers: Numbers) -> UniA:
    """Built once, and only where the numbers are there."""
    return drawn_model()


def differences(outputs: Numbers, numbers: Numbers) -> dict[str, float]:
    """Largest difference of each output, relative to the standard deviation of the reference's."""
    found = {}
    for name, output in outputs.items():
        expected = numbers[name].double()
        assert output.shape == expected.shape
        found[name] = float((output.double() - expected).abs().max() / expected.std())
    return found


@torch.no_grad()
def forward(model: UniA, numbers: Numbers, dtype: torch.dtype) -> Numbers:
    output = model.to(dtype)(images(numbers, dtype))
    names = ("cls_logits", "cls_aux_logits", "seg_logits", "affinity", "mean", "log_variance")
    return {name: getattr(output, name) for name in names} | {"feature_map": output.features}


@torch.no_grad()
def cams(model: UniA, numbers: Numbers, dtype: torch.dtype, known: bool) -> Numbers:
    normalised = images(numbers, dtype)
    maps = model.to(dtype).feature_maps(normalised) if known else None
    scales = numbers["cam_scales"].tolist()
    main, auxiliary = cam.multi_scale_cams(model, normalised, scales, maps)
    return {"cam": main[:, :8], "cam_aux": auxiliary[:, :8]}


def multi_scale(model: UniA, numbers: Numbers, dtype: torch.dtype) -> Numbers:
    scales = numbers["seg_scales"].tolist()
    logits = segment.multi_scale_logits(
        model.to(dtype), list(images(numbers, dtype)[:1]), (CROP, CROP), scales
    )
    return {"seg_logits_multiscale": logits[0][None, :8]}


def images(numbers: Numbers, dtype: torch.dtype) -> Tensor:
    return normalise.normalise(numbers["image_0_1"].to(dtype))


def test_everything_in_float64(model: UniA, numbers: Numbers, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the normalisation's numbers rounded to float32, as the reference had them."""
    for name in ("MEAN", "STD"):
        rounded = tuple(float(np.float32(value)) for value in getattr(normalise, name))
        monkeypatch.setattr(normalise, name, rounded)
    dtype = torch.float64
    outputs = {
        **forward(model, numbers, dtype),
        **cams(model, numbers, dtype, known=False),
        **multi_scale(model, numbers, dtype),
    }
    for name, difference in differences(outputs, numbers).items():
        print(f"{name}, float64: {difference:.1e} of the standard deviation")
        assert difference < (3e-6 if name.startswith("cam") else 1e-6), name  # CAMs are float32


def test_forward_in_float64_as_it_is(model: UniA, numbers: Numbers) -> None:
    for name, difference in differences(forward(model, numbers, torch.float64), numbers).items():
        print(f"{name}, float64, unrounded normalisation: {difference:.1e} of the standard deviation")
        assert difference < 1e-4, name


def test_everything_in_float32(model: UniA, numbers: Numbers) -> None:
    """The CAMs from known feature maps, as training makes them."""
    dtype = torch.float32
    outputs = {
        **forward(model, numbers, dtype),
        **cams(model, numbers, dtype, known=True),
        **multi_scale(model, numbers, dtype),
    }
    for name, difference in differences(outputs, numbers).items():
        print(f"{name}, float32: {difference:.1e} of the standard deviation")
        assert difference < 1e-3, name


@pytest.mark.parametrize(
    ("output", "module", "right", "wrong"),
    [
        ("feature_map", uncertainty, "log_variance.sigmoid()", "0.5"),
        ("feature_map", uncertainty, "tokens * (1 - u)", "tokens"),
        ("feature_map", uncertainty, "tokens + reread", "reread"),
        ("feature_map", network, "2 * reread", "reread"),
        ("feature_map", backbone, '"cubic"', '"linear"'),
        ("mean", uncertainty, "if self.separate_mean", "if True"),
        ("log_variance", uncertainty, "F.max_pool2d", "F.avg_pool2d"),
        ("log_variance", uncertainty, "F.normalize(self.layers(x), dim=-1)", "self.layers(x)"),
        ("affinity", heads, "projected + projected.transpose(1, 2)", "2 * projected"),
        ("affinity", backbone, "torch.cat(logits, dim=1)", "torch.cat(logits[::-1], dim=1)"),
        ("affinity", backbone, "* attn.scale", ""),
        ("cls_logits", network, "F.adaptive_max_pool2d(features, 1)", "F.adaptive_avg_pool2d(features, 1)"),
        ("cls_aux_logits", backbone, "index == last - 2", "index == last - 1"),
        ("seg_logits", heads, "F.relu(self.conv1(features))", "self.conv1(features)"),
    ],
)
def test_outputs_catch(
    output: str, module: ModuleType, right: str, wrong: str, model: UniA, numbers: Numbers, plant: Plant
) -> None:
    """The golden numbers tell each of these errors from the method, in float32 already."""
    plant(module, right, wrong)
    difference = differences(forward(model, numbers, torch.float32), numbers)[output]
    print(f"{output} with {wrong!r} for {right!r}: {difference:.1e} of the standard deviation")
    assert difference > 1e-3


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("pair.relu_()", "pair"), ("size).flip(-1)", "size)"), ("torch.maximum", "torch.add")],
)
def test_cams_catch(right: str, wrong: str, model: UniA, numbers: Numbers, plant: Plant) -> None:
    plant(cam, right, wrong)
    found = differences(cams(model, numbers, torch.float32, known=True), numbers)
    print(f"CAMs with {wrong!r} for {right!r}: {found} of the standard deviation")
    assert min(found.values()) > 1e-3


@pytest.mark.parametrize(
    ("module", "right", "wrong"),
    [
        (segment, "torch.maximum", "torch.add"),
        (segment, "scaled.flip(-1)", "scaled"),
        (segment, "base[0] * scale", "base[0]"),
    ],
)
def test_multi_scale_logits_catch(
    module: ModuleType, right: str, wrong: str, model: UniA, numbers: Numbers, plant: Plant
) -> None:
    plant(module, right, wrong)
    found = differences(multi_scale(model, numbers, torch.float32), numbers)
    print(f"logits with {wrong!r} for {right!r}: {found} of the standard deviation")
    assert min(found.values()) > 1e-3
