"""What residency needs of an engine, and the words in which the two speak of an adapter."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class EngineAdapter:
    """One adapter version as the engine knows it.

    Attributes:
        engine_id: Integer id, unique per version over the registry; vLLM tells adapters apart by it.
        engine_name: Name unique per version, such as 'agronomy@3'; part of vLLM's prefix cache key.
        path: Folder with the adapter's files.
    """

    engine_id: int
    engine_name: str
    path: Path


class AdapterEngine(Protocol):
    """What residency needs of an engine."""

    async def load_adapter(self, adapter: EngineAdapter) -> None:
        """Load one adapter; raises UnavailableError where the engine refuses it."""

    async def unload_adapter(self, adapter: EngineAdapter) -> None:
        """Free one adapter; raises UnavailableError where it stays in the engine."""

    async def list_adapters(self) -> AbstractSet[int]:
        """Engine ids of the adapters that are in the engine; raises UnavailableError where it does not say."""
