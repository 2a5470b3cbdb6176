"""AdamW and its groups of parameters. Method section 5."""

from typing import Any

import torch
from torch import nn

from unia.model.network import UniA
from unia.recipe import Train
from unia.training.learning_rate import learning_rate


def parameter_groups(model: UniA, config: Train) -> list[dict[str, Any]]:
    """Four groups: the backbone's norms, the rest of the backbone, heads and uncertainty, the decoder.

    Each holds its `name` and its `base_lr`. The affinity head's bias is in none, as in the reference,
    unless `config.train_affinity_bias`.
    """
    norms: list[nn.Parameter] = []
    backbone: list[nn.Parameter] = []
    heads: list[nn.Parameter] = []
    decoder: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if name.startswith("backbone."):
            (norms if "norm" in name else backbone).append(parameter)
        elif name.startswith("decoder."):
            decoder.append(parameter)
        elif name != "affinity.project.bias" or config.train_affinity_bias:
            heads.append(parameter)
    return [
        {"name": "norms", "params": norms, "base_lr": config.lr},
        {"name": "backbone", "params": backbone, "base_lr": config.lr},
        {"name": "heads", "params": heads, "base_lr": config.head_lr},
        {"name": "decoder", "params": decoder, "base_lr": config.head_lr},
    ]


def build_optimiser(model: UniA, config: Train) -> torch.optim.AdamW:
    """AdamW over `parameter_groups` (betas 0.9 and 0.999, eps 1e-8), fused.

    On a GPU the rates are tensors there, so that a recorded step reads the current ones.
    """
    groups = parameter_groups(model, config)
    device = next(model.parameters()).device
    on_gpu = device.type == "cuda"
    if on_gpu:
        for group in groups:
            group["lr"] = torch.zeros((), device=device)
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True, capturable=on_gpu)


def set_learning_rate(optimiser: torch.optim.Optimizer, step: int, config: Train) -> float:
    """Give every group its rate for `step`; returns the backbone's."""
    rates = []
    for group in optimiser.param_groups:
        base, schedule = (
            group["base_lr"],
            (config.warmup, config.warmup_ratio, config.iterations, config.power),
        )
        rates.append(learning_rate(base, step, *schedule))
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rates[-1])
        else:
            group["lr"] = rates[-1]
    return rates[1]
