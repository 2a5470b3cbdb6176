"""Training that gives the same weights in every run on one machine: docs/determinism.md."""

import os

import torch
from torch.utils import deterministic

REPEATABLE = (":4096:8", ":16:8")  # the workspaces with which cuBLAS repeats itself


def use_deterministic(on: bool) -> None:
    """Where `on`, let torch choose deterministic kernels; it warns, by name, of those that have none.

    To be called before CUDA starts, since cuBLAS reads its workspace's setting then.
    """
    if not on:
        return
    if os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in REPEATABLE:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = REPEATABLE[0]
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing here reads such
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
