"""What vLLM loads in each of its processes through the entry point `vllm.general_plugins` (see pyproject.toml)."""

from __future__ import annotations


def register() -> None:
    """On CPU, let adapters be applied by `serve.cpu_lora`; vLLM's own way there costs several times the base model."""
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        type(current_platform).get_punica_wrapper = classmethod(lambda _: "serve.cpu_lora.GroupedLora")
