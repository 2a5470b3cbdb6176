"""The names of backbones, as read from timm's files, against timm's own lists."""

import pytest
import timm
import torch

from unia.errors import UserError
from unia.model.backbone import Backbone
from unia.model.names import FILES, architectures, known


def test_they_are_timm_s() -> None:
    assert architectures() == {name for file in FILES for name in timm.list_models(module=file)}
    for file in FILES:
        for name in timm.list_models(module=file, pretrained=True):
            assert known(name) == name


@pytest.mark.parametrize("name", ["vit_base_patch16_xp_224", "vit_base_patch16_18x2_224"])
def test_blocks_that_attend_otherwise_are_refused(name: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match="is no plain vision transformer of timm"):
        Backbone(name, {})
