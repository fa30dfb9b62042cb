"""What a model multiplies in: chosen by what the device can, apart from asking it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from indexer.settings import EmbedDtype

if TYPE_CHECKING:
    import torch

Precision = Literal["bfloat16", "float16", "float32"]


def choose_precision(asked: EmbedDtype, *, device: str, native_bfloat16: bool) -> Precision:
    """Return what to multiply in: what was asked for, and for `auto` what the device does best.

    A GPU multiplies bfloat16 and float16 equally fast where it has both; then bfloat16, because it holds numbers as
    large as float32 does and no model exceeds it. GPUs before Ampere have float16 alone. A processor without
    instructions for bfloat16 is slower in either than in float32.

    Args:
        asked: The setting `embed_dtype`.
        device: Kind of device: `cpu`, `cuda`, `mps`.
        native_bfloat16: Whether it has instructions that multiply bfloat16.
    """
    if asked != "auto":
        return asked
    if native_bfloat16:
        return "bfloat16"
    return "float16" if device == "cuda" else "float32"


def precision_on(device: torch.device, asked: EmbedDtype) -> Precision:
    """Return what to multiply in on a device of this machine."""
    return choose_precision(asked, device=device.type, native_bfloat16=multiplies_bfloat16(device))


def multiplies_bfloat16(device: torch.device) -> bool:
    """Tell whether a device has instructions that multiply bfloat16; without them it is slower than float32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def multiplying(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the block in which matrices are multiplied so; what is added up and normalised stays float32."""
    import torch

    lower = torch.float16 if precision == "float16" else torch.bfloat16
    return torch.autocast(device.type, dtype=lower, enabled=precision != "float32")


def round_weights(model: torch.nn.Module, precision: Precision) -> None:
    """Keep the weights of linear layers in what they are multiplied in; `multiplying` would round them at every pass.

    The results are the same to the last bit: the weights are rounded once where they were rounded every time.
    """
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.to(getattr(torch, precision))
