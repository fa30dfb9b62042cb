"""Takes an adapter's tensors out of a model and puts them back, also where the workers share each one out (FSDP2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peft import get_peft_model_state_dict, set_peft_model_state_dict
from torch.distributed.tensor import DTensor, distribute_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from peft import PeftModel
    from torch import Tensor


def whole_adapter(model: PeftModel) -> dict[str, Tensor]:
    """Return copies of the adapter's whole tensors in main memory, by PEFT's names; all workers call it together."""
    adapter = get_peft_model_state_dict(model)
    return {name: _whole(tensor).detach().cpu().clone() for name, tensor in adapter.items()}


def give_adapter(model: PeftModel, weights: Mapping[str, Tensor]) -> None:
    """Give the model an adapter as `whole_adapter` returns it; all workers call it together."""
    adapter = get_peft_model_state_dict(model)
    set_peft_model_state_dict(model, {name: _shared_as(adapter[name], tensor) for name, tensor in weights.items()})


def _whole(tensor: Tensor) -> Tensor:
    whole: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole


def _shared_as(own: Tensor, tensor: Tensor) -> Tensor:
    if not isinstance(own, DTensor):
        return tensor
    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements)
