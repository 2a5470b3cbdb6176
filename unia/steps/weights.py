"""`unia weights`: timm's pretrained weights as a file, for machines that cannot reach its hub."""

from pathlib import Path

from safetensors.torch import save_file

from unia.files import atomic, sha256
from unia.model.backbone import Backbone
from unia.progress import say
from unia.recipe import Model


def weights(config: Model, out: Path) -> None:
    """Fetch the weights of `config`'s backbone through timm, which resumes and retries, and write `out`.

    Raises UserError where they cannot be had.
    """
    backbone = Backbone(config.backbone, config.vit.model_dump(exclude_none=True), pretrained=True)
    with atomic(out) as temporary:
        save_file(backbone.vit.state_dict(), temporary)
    say(f"{out}: weights of {config.backbone}, sha256 {sha256(out)}; name the file in model.weights")
