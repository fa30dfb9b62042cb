"""What parts of a run need a GPU or a package that is not always there; refused before anything is loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from indexer.errors import InputError
from train.settings import TrainSettings


def installed(package: str) -> bool:
    """Return whether a package can be imported here."""
    return importlib.util.find_spec(package) is not None


def check_hardware(settings: TrainSettings, *, installed: Callable[[str], bool] = installed) -> None:
    """Refuse settings that the machines or packages of the run cannot do.

    Args:
        settings: How is trained.
        installed: Whether a package is there; this process stands for the workers.

    Raises:
        InputError: Flash attention or sharding without a GPU, flash attention in float32, sharding over one worker, or
            a package is missing.
    """
    if settings.attention == "flash_attention_2":
        _want_gpu(settings, "train.attention is flash_attention_2", otherwise="sdpa")
        if settings.dtype == "float32":
            raise InputError("train.attention is flash_attention_2, which knows no float32; set train.dtype to auto.")
        _want_package("flash_attn", "flash-attn", "train.attention is flash_attention_2", installed=installed)
    if settings.quantization != "none":
        reason = f"train.quantization is {settings.quantization}"
        _want_package("bitsandbytes", "bitsandbytes", reason, installed=installed)
    if settings.sharding != "none":
        # accelerate leaves the plan for sharding aside on CPUs, without a word (accelerate/state.py).
        _want_gpu(settings, f"train.sharding is {settings.sharding}", otherwise="none")
        if settings.workers < 2:
            raise InputError(f"train.sharding is {settings.sharding}, and there is 1 worker; give more, or none of it.")


def _want_gpu(settings: TrainSettings, reason: str, *, otherwise: str) -> None:
    if not settings.use_gpu:
        raise InputError(f"{reason}, which wants GPUs; set train.use_gpu, or {otherwise} instead.")


def _want_package(module: str, package: str, reason: str, *, installed: Callable[[str], bool]) -> None:
    if not installed(module):
        raise InputError(f"{reason}, and {module} is not installed; pip install {package} on every node.")
