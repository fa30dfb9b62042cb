"""A small deployment that paces its answers and tells routers of itself as the real replicas do."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from ray import serve

from serve.routing.published import Published


class Paced:
    """Keeps every adapter that it was asked for; answers with its replica's id and whether it had the adapter."""

    def __init__(self) -> None:
        self._resident: set[str] = set()
        self._queue = 0
        self._beat = 0

    async def __call__(self, body: SimpleNamespace) -> tuple[str, bool]:
        hit = body.model in self._resident
        self._resident.add(body.model)
        self._queue += 1
        await asyncio.sleep(0.02)
        self._queue -= 1
        return serve.get_replica_context().replica_id.unique_id, hit

    def record_routing_stats(self) -> dict[str, Any]:
        self._beat += 1
        return Published(
            beat=self._beat,
            models=frozenset(self._resident),
            plain=frozenset({"base"}),
            queue=self._queue,
            capacity=100,
        ).as_stats()
