"""Adapter residency: a request takes a lease on its adapter, and the engine holds exactly what the plan says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from indexer.errors import UnavailableError
from serve.residency.plan import State, plan

# Seconds for which a failed load is answered from memory: each try evicts an adapter that works.
REFUSED_FOR_S = 5.0


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


class Residency:
    """Keeps at most `capacity` adapters in the engine and leases them to requests.

    Loads of different adapters run side by side, each in its own task; a request that gives up waiting never cancels
    a load that others wait for. A load that failed is not tried again for `REFUSED_FOR_S` seconds. All state is touched
    on one event loop, so there is no lock.
    """

    def __init__(
        self,
        engine: AdapterEngine,
        *,
        capacity: int,
        wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store the arguments.

        Args:
            engine: Where adapters are loaded.
            capacity: Adapters resident at most.
            wait_s: Seconds a request waits for its adapter.
            clock: Monotonic time in seconds.
        """
        self._engine = engine
        self._capacity = capacity
        self._wait_s = wait_s
        self._clock = clock
        self._known: dict[int, EngineAdapter] = {}
        self._last_used: dict[int, float] = {}
        self._in_use: dict[int, int] = {}
        self._waiting: dict[int, int] = {}
        self._loading: dict[int, asyncio.Task[None]] = {}
        self._refused: dict[int, tuple[Exception, float]] = {}
        self._changed = asyncio.Event()

    @property
    def resident(self) -> tuple[str, ...]:
        """Engine names of the resident adapters, sorted."""
        return tuple(sorted(self._known[i].engine_name for i in self._last_used if i not in self._loading))

    @asynccontextmanager
    async def lease(self, adapter: EngineAdapter, *, waited_s: float = 0.0) -> AsyncIterator[None]:
        """Hold an adapter in the engine for the length of a request.

        Args:
            adapter: The adapter version.
            waited_s: Seconds the request has waited for it already; they count.

        Raises:
            UnavailableError: No place became free in time, or the engine refused the adapter.
        """
        self._known[adapter.engine_id] = adapter
        self._waiting[adapter.engine_id] = self._waiting.get(adapter.engine_id, 0) + 1
        held = False
        try:
            async with asyncio.timeout(max(0.0, self._wait_s - waited_s)):
                await self._until_resident(adapter)
            self._in_use[adapter.engine_id] = self._in_use.get(adapter.engine_id, 0) + 1
            held = True
        except TimeoutError as error:
            raise UnavailableError(self._too_late(adapter)) from error
        finally:
            _decrement(self._waiting, adapter.engine_id)
            if not held:
                self._wake()  # what nobody waits for any more may be evicted
        try:
            yield
        finally:
            self._last_used[adapter.engine_id] = self._clock()
            _decrement(self._in_use, adapter.engine_id)
            self._wake()

    def _too_late(self, adapter: EngineAdapter) -> str:
        if adapter.engine_id in self._loading:
            return (
                f"Adapter {adapter.engine_name} was still being loaded after {self._wait_s:g} s; "
                "try again, or raise serve.adapter_wait_s."
            )
        return (
            f"Adapter {adapter.engine_name} found no place among {self._capacity} within {self._wait_s:g} s; "
            "try again, or raise serve.max_resident_adapters."
        )

    async def _until_resident(self, adapter: EngineAdapter) -> None:
        while True:
            task = self._loading.get(adapter.engine_id)
            if task is not None:
                await asyncio.shield(task)
                continue
            if adapter.engine_id in self._last_used:
                return
            refusal = self._refusal(adapter.engine_id)
            if refusal is not None:
                raise UnavailableError(str(refusal)) from refusal
            if not self._start_next():
                changed = self._changed
                await changed.wait()

    def _refusal(self, engine_id: int) -> Exception | None:
        """Why the adapter's load failed a moment ago; None where it may be tried."""
        error, since = self._refused.get(engine_id, (None, 0.0))
        if error is not None and self._clock() - since >= REFUSED_FOR_S:
            del self._refused[engine_id]
            return None
        return error

    def _start_next(self) -> bool:
        """Carry out the plan; True when a load was started."""
        in_use = set(self._in_use) | set(self._loading)
        wanted = tuple(engine_id for engine_id in self._waiting if self._refusal(engine_id) is None)
        state = State(capacity=self._capacity, last_used=self._last_used, wanted=wanted)
        decision = plan(state, in_use, self._clock())
        free = len(decision.load) - len(decision.evict)
        for engine_id in decision.evict:
            del self._last_used[engine_id]
        for position, engine_id in enumerate(decision.load):
            victim = self._known[decision.evict[position - free]] if position >= free else None
            self._last_used[engine_id] = self._clock()
            task = asyncio.create_task(self._load(self._known[engine_id], victim))
            self._loading[engine_id] = task
            task.add_done_callback(partial(self._loaded, engine_id))
        return bool(decision.load)

    async def _load(self, adapter: EngineAdapter, victim: EngineAdapter | None) -> None:
        try:
            if victim is not None:
                await self._unload(victim)
            await self._engine.load_adapter(adapter)
        except BaseException as error:
            self._last_used.pop(adapter.engine_id, None)
            if isinstance(error, Exception):
                self._refused[adapter.engine_id] = (error, self._clock())
            raise

    async def _unload(self, victim: EngineAdapter) -> None:
        try:
            await self._engine.unload_adapter(victim)
        except BaseException:
            # It still is in the engine. As just used, so that the next load tries another one's place.
            self._last_used.setdefault(victim.engine_id, self._clock())
            raise

    def _loaded(self, engine_id: int, task: asyncio.Task[None]) -> None:
        del self._loading[engine_id]
        if not task.cancelled():
            task.exception()  # waiters raise it; reading it here keeps the loop from reporting it a second time
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _decrement(counts: dict[int, int], key: int) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
