"""Adapter residency: a request takes a lease on its adapter, and the engine holds exactly what the plan says."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from indexer.errors import UnavailableError
from serve.residency.engine import AdapterEngine, EngineAdapter
from serve.residency.lines import Lines
from serve.residency.plan import State, plan
from serve.residency.standing import Event, Standing, ignore

logger = logging.getLogger("graftwork.serve")

# Where an adapter lies that the engine has and nobody knows.
_NOWHERE = Path()
# Seconds for which a failed load is answered from memory: each try evicts an adapter that works.
REFUSED_FOR_S = 5.0


class Residency:
    """Keeps at most `capacity` adapters in the engine, `slots` of them in use, and leases them to requests.

    Loads of different adapters run side by side, each in its own task; a request that gives up waiting never cancels
    a load that others wait for. A load that failed is not tried again for `REFUSED_FOR_S` seconds. All state is touched
    on one event loop, so there is no lock.

    Where more adapters are asked for than there are slots they take turns (see `plan`). One that comes as number p of
    those that wait has its turn after at most ceil(p / slots) times a cycle, the longest request and a load.
    """

    def __init__(
        self,
        engine: AdapterEngine,
        *,
        capacity: int,
        wait_s: float,
        slots: int | None = None,
        cycle_s: float = 2.0,
        on_event: Callable[[Event], None] = ignore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store the arguments.

        Args:
            engine: Where adapters are loaded.
            capacity: Adapters resident at most.
            wait_s: Seconds a request waits for its adapter.
            slots: Adapters in use at once at most; as many as may be resident where None.
            cycle_s: Seconds an adapter may be in use before it gives way to those that wait.
            on_event: Told of every swap and of every correction.
            clock: Monotonic time in seconds.
        """
        self._engine = engine
        self._capacity = capacity
        self._slots = min(capacity, slots or capacity)
        self._wait_s = wait_s
        self._cycle_s = cycle_s
        self._tell = on_event
        self._clock = clock
        self._known: dict[int, EngineAdapter] = {}
        self._last_used: dict[int, float] = {}
        self._in_use: dict[int, int] = {}
        self._turns: dict[int, float] = {}
        self._lines = Lines(clock=clock)
        self._loading: dict[int, asyncio.Task[None]] = {}
        self._unloading: dict[int, asyncio.Task[None]] = {}
        self._refused: dict[int, tuple[Exception, float]] = {}
        self._pinned: tuple[int, ...] = ()
        self._retired: frozenset[int] = frozenset()
        self._timer: asyncio.TimerHandle | None = None
        self._swaps = 0

    @property
    def resident(self) -> tuple[str, ...]:
        """Engine names of the resident adapters, sorted."""
        return tuple(sorted(self._known[i].engine_name for i in self._last_used if i not in self._loading))

    @property
    def resident_ids(self) -> frozenset[int]:
        """Engine ids of the adapters in the engine, and of those that are being loaded."""
        return frozenset(self._last_used)

    @property
    def needed(self) -> frozenset[str]:
        """Engine names of the adapters whose files the engine may read: in it, coming, leaving, waited for, pinned."""
        ids = {*self._last_used, *self._unloading, *self._lines.wanted, *self._pinned}
        return frozenset(self._known[engine_id].engine_name for engine_id in ids)

    @property
    def has_place_for_pins(self) -> bool:
        """Whether all pinned adapters have a place."""
        return len(self._pinned) <= self._capacity

    @property
    def standing(self) -> Standing:
        """What there is to show of this moment."""
        return Standing(
            resident=len(self._last_used) - len(self._loading),
            in_use=len(self._in_use),
            waiting=len(self._lines.wanted),
            swaps=self._swaps,
            worst_wait_s=self._lines.worst_wait_s,
        )

    @asynccontextmanager
    async def lease(self, adapter: EngineAdapter, *, waited_s: float = 0.0) -> AsyncIterator[None]:
        """Hold an adapter in the engine for the length of a request.

        Args:
            adapter: The adapter version.
            waited_s: Seconds the request has waited for it already; they count.

        Raises:
            UnavailableError: Its turn did not come in time, or the engine refused the adapter.
        """
        await self._enter(adapter, self._wait_s - waited_s)
        try:
            yield
        finally:
            self._leave(adapter.engine_id)

    def keep(self, *, pinned: Sequence[EngineAdapter], retired: Collection[int]) -> None:
        """Say what is to stay in the engine and what is to go; replaces what was said before.

        Args:
            pinned: Adapters to load now and never to evict.
            retired: Engine ids to free once no request uses them.
        """
        self._known.update({adapter.engine_id: adapter for adapter in pinned})
        self._pinned = tuple(adapter.engine_id for adapter in pinned)
        self._retired = frozenset(retired)
        self._advance()

    def missing_pins(self) -> Mapping[str, str]:
        """Why pinned adapters are not in the engine, by their engine names."""
        missing: dict[str, str] = {}
        for engine_id in self._pinned:
            if engine_id in self._last_used and engine_id not in self._loading:
                continue
            refusal = self._refused.get(engine_id)
            if len(self._pinned) > self._capacity:
                why = f"{len(self._pinned)} adapters are pinned and {self._capacity} have a place"
            else:
                why = str(refusal[0]) if refusal is not None else "it is being loaded"
            missing[self._known[engine_id].engine_name] = why
        return missing

    def in_use_of(self, engine_ids: Collection[int]) -> Mapping[str, int]:
        """Requests in flight by the engine names of the adapters named."""
        return {self._known[i].engine_name: count for i, count in self._in_use.items() if i in engine_ids}

    async def reconcile(self) -> None:
        """Compare the books with the engine and mend what differs; each difference is told as an event.

        What is being loaded or freed meanwhile is left to those who do it.

        Raises:
            UnavailableError: The engine does not say what it holds.
        """
        before = {*self._loading, *self._unloading}
        held = set(self._last_used)
        actual = await self._engine.list_adapters()
        busy = {*before, *self._loading, *self._unloading}
        for engine_id in sorted((held & set(self._last_used)) - set(actual) - busy):
            self._tell(Event("lost", self._known[engine_id].engine_name))
            logger.warning("adapter %s was no more in the engine", self._known[engine_id].engine_name)
            if engine_id in self._in_use:
                self._start_load(engine_id, after=None)
            else:
                del self._last_used[engine_id]
        for engine_id in sorted(set(actual) - set(self._last_used) - held - busy):
            stray = self._known.get(engine_id) or EngineAdapter(engine_id, f"number {engine_id}", _NOWHERE)
            self._known[engine_id] = stray
            self._tell(Event("stray", stray.engine_name))
            logger.warning("adapter %s was in the engine and in no book", stray.engine_name)
            self._start_unload(engine_id)
        self._advance()

    async def _enter(self, adapter: EngineAdapter, wait_s: float) -> None:
        engine_id = adapter.engine_id
        self._known[engine_id] = adapter
        refusal = self._refusal(engine_id)
        if refusal is not None:
            raise UnavailableError(str(refusal)) from refusal
        turn = self._lines.join(engine_id)
        self._advance()
        try:
            async with asyncio.timeout(max(0.0, wait_s)):
                await turn
        except BaseException as error:
            if self._lines.quit(engine_id, turn):
                self._advance()  # what nobody waits for any more may be evicted
            elif turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave(engine_id)  # its turn had come in the same moment
            if isinstance(error, TimeoutError):
                raise UnavailableError(self._too_late(adapter)) from error
            raise

    def _leave(self, engine_id: int) -> None:
        if engine_id in self._last_used:
            self._last_used[engine_id] = self._clock()
        self._in_use[engine_id] -= 1
        if not self._in_use[engine_id]:
            del self._in_use[engine_id], self._turns[engine_id]
        self._advance()

    def _too_late(self, adapter: EngineAdapter) -> str:
        if adapter.engine_id in self._loading:
            return (
                f"Adapter {adapter.engine_name} was still being loaded after {self._wait_s:g} s; "
                "try again, or raise serve.adapter_wait_s."
            )
        return (
            f"Adapter {adapter.engine_name} found no place among {self._slots} within {self._wait_s:g} s; "
            "try again, or raise serve.max_adapters."
        )

    def _refusal(self, engine_id: int) -> Exception | None:
        """Why the adapter's load failed a moment ago; None where it may be tried."""
        error, since = self._refused.get(engine_id, (None, 0.0))
        return error if error is not None and self._clock() - since < REFUSED_FOR_S else None

    def _advance(self) -> None:
        """Carry out the plan of this moment."""
        now = self._clock()
        places = self._capacity - len(self._unloading)
        state = State(
            capacity=places,
            slots=self._slots,
            last_used=self._last_used,
            wanted=[engine_id for engine_id in self._lines.wanted if engine_id not in self._unloading],
            turns=self._turns,
            cycle_s=self._cycle_s,
            pinned=[engine_id for engine_id in self._pinned if self._may_pin(engine_id)],
            retired=self._retired,
        )
        decision = plan(state, {*self._in_use, *self._loading}, now)
        free = max(0, places - len(self._last_used))
        self._set_timer(decision.again_at, now)
        for engine_id in decision.admit:
            self._admit(engine_id)
        leaving = [self._start_unload(engine_id) for engine_id in decision.evict]
        for position, engine_id in enumerate(decision.load):
            taken = leaving[position - free] if 0 <= position - free < len(leaving) else None
            self._start_load(engine_id, after=taken)

    def _may_pin(self, engine_id: int) -> bool:
        return self._refusal(engine_id) is None and engine_id not in self._unloading

    def _set_timer(self, at: float | None, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, at - now), self._advance) if at is not None else None

    def _admit(self, engine_id: int) -> None:
        passed = self._lines.admit(engine_id)
        if passed:
            self._in_use[engine_id] = self._in_use.get(engine_id, 0) + passed
            self._turns.setdefault(engine_id, self._clock())

    def _start_load(self, engine_id: int, *, after: asyncio.Task[None] | None) -> None:
        self._last_used[engine_id] = self._clock()
        self._swaps += after is not None
        task = asyncio.create_task(self._load(self._known[engine_id], after))
        self._loading[engine_id] = task
        task.add_done_callback(partial(self._loaded, engine_id))

    async def _load(self, adapter: EngineAdapter, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            await asyncio.shield(after)
        await self._engine.load_adapter(adapter)

    def _loaded(self, engine_id: int, task: asyncio.Task[None]) -> None:
        del self._loading[engine_id]
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            self._tell(Event("load", self._known[engine_id].engine_name))
            self._refused.pop(engine_id, None)
            self._admit(engine_id)
        else:
            del self._last_used[engine_id]
            reason = error if isinstance(error, Exception) else UnavailableError("The replica is stopping; try again.")
            self._tell(Event("refused", self._known[engine_id].engine_name))
            self._refused[engine_id] = (reason, self._clock())
            self._lines.refuse(engine_id, reason)
        self._advance()

    def _start_unload(self, engine_id: int) -> asyncio.Task[None]:
        self._last_used.pop(engine_id, None)
        task = asyncio.create_task(self._unload(self._known[engine_id], checked=engine_id in self._retired))
        self._unloading[engine_id] = task
        task.add_done_callback(partial(self._unloaded, engine_id))
        return task

    async def _unload(self, adapter: EngineAdapter, *, checked: bool) -> None:
        await self._engine.unload_adapter(adapter)
        if checked and adapter.engine_id in await self._engine.list_adapters():
            raise UnavailableError(f"Adapter {adapter.engine_name} was freed and is in the engine still.")

    def _unloaded(self, engine_id: int, task: asyncio.Task[None]) -> None:
        del self._unloading[engine_id]
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            self._tell(Event("evict", self._known[engine_id].engine_name))
        else:
            # It still is in the engine. As just used, so that the next load tries another one's place.
            self._last_used[engine_id] = self._clock()
            logger.warning("adapter %s stays in the engine: %s", self._known[engine_id].engine_name, error)
        self._advance()
