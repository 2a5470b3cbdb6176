"""The precision of the network's passes: bfloat16 where the device computes with it, else float32."""

import torch

from unia.recipe import Precision


def passes(device: torch.device, precision: Precision) -> torch.autocast:
    """The context of a pass at `precision`. Weights, and what is computed outside, stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16" and has_bf16(device))


def has_bf16(device: torch.device) -> bool:
    """Whether `device` multiplies matrices in bfloat16: every GPU we know, and CPUs with such instructions.

    Other CPUs imitate it, several times slower than float32.
    """
    if device.type != "cpu":
        return True
    get = getattr(torch.cpu, "get_capabilities", None)  # newer than torch 2.11
    capabilities = get() if get else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
