"""Keeps a replica's adapters as the registry wants them: pins loaded, retired versions freed, the engine checked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import GraftworkError
from serve.catalog import Catalog
from serve.following import keep_looking
from serve.residency.engine import EngineAdapter
from serve.residency.manager import Residency
from train.registry.manifest import AdapterManifest

logger = logging.getLogger("graftwork.serve")

_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the registry wants of every replica.

    Attributes:
        served: Engine ids of all versions that names lead to.
        pinned: Versions that are to be loaded before a replica is ready, and to stay.
        absent: Pinned references that no served version answers to.
    """

    served: frozenset[int]
    pinned: tuple[AdapterManifest, ...] = ()
    absent: tuple[str, ...] = ()


def wanted_of(catalog: Catalog, *, pinned: Iterable[str] = ()) -> Wanted:
    """What a catalogue wants.

    Args:
        catalog: The names of this moment.
        pinned: References of the pinned versions, such as 'agronomy@3'.
    """
    refs = tuple(dict.fromkeys(pinned))
    return Wanted(
        served=frozenset(manifest.engine_id for manifest in catalog.adapters.values()),
        pinned=tuple(catalog.adapters[ref] for ref in refs if ref in catalog.adapters),
        absent=tuple(ref for ref in refs if ref not in catalog.adapters),
    )


class Upkeep:
    """Looks after one replica's residency, once in a while."""

    def __init__(
        self,
        residency: Residency,
        *,
        wanted: Callable[[], Wanted],
        files: Callable[[AdapterManifest], AbstractAsyncContextManager[Path]],
        interval_s: float,
        drain_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store the arguments.

        Args:
            residency: What is looked after.
            wanted: Gives what the registry wants at this moment.
            files: Checked folder of an adapter version, kept for the block; raises GraftworkError where a file is not
                as published.
            interval_s: Seconds between two looks.
            drain_s: Seconds after which requests that still use a retired version are told of in the log. It is not
                freed under them: vLLM would load it again for them, and dies where the files are gone by then.
            clock: Monotonic time in seconds.
        """
        self._residency = residency
        self._wanted = wanted
        self._files = files
        self._interval_s = interval_s
        self._drain_s = drain_s
        self._clock = clock
        self._problems: dict[str, str] = {}
        self._draining: dict[int, float] = {}
        self._told: dict[str, str] = {}

    async def settle(self, *, timeout_s: float) -> None:
        """Load what is pinned; returns when all is there, something cannot be, or the time is up."""
        await self.look()
        end = self._clock() + timeout_s
        while self._clock() < end and "it is being loaded" in self._residency.missing_pins().values():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)

    async def follow(self) -> None:
        """Look after it until cancelled."""
        await keep_looking(
            self.look,
            interval_s=self._interval_s,
            failed=lambda cause: logger.warning("the adapters of this replica were not looked after: %s", cause),
        )

    async def look(self) -> None:
        """Look once: take in what is wanted, then compare with the engine."""
        wanted = self._wanted()
        problems = dict.fromkeys(wanted.absent, "the registry has no such version that can be served here")
        pinned = []
        async with AsyncExitStack() as held:  # until they are among `Residency.needed`
            for manifest in wanted.pinned:
                try:
                    path = await held.enter_async_context(self._files(manifest))
                except GraftworkError as error:
                    problems[manifest.ref] = str(error)
                else:
                    pinned.append(EngineAdapter(manifest.engine_id, manifest.ref, path))
            self._problems = problems
            retired = self._residency.resident_ids - wanted.served
            self._residency.keep(pinned=pinned, retired=retired)
        self._watch_drain(retired)
        try:
            await self._residency.reconcile()
        except GraftworkError as error:
            logger.warning("the adapters of this replica were not compared with its engine: %s", error)
        self._tell()

    def unready(self) -> str | None:
        """Why this replica is not ready, for anybody to read: no names, no paths; None where it is."""
        missing = self._residency.missing_pins()
        if not self._problems and not missing:
            return None
        count = len(self._problems) + len(missing)
        if self._problems:
            why = "the files of one cannot be used"
        elif "it is being loaded" in missing.values():
            why = "one is being loaded"
        elif self._residency.has_place_for_pins:
            why = "the engine refused one"
        else:
            why = "there are more of them than places"
        return f"{count} pinned adapters are not loaded here: {why}; the replica's log names them."

    def _watch_drain(self, retired: frozenset[int]) -> None:
        now = self._clock()
        self._draining = {engine_id: self._draining.get(engine_id, now) for engine_id in retired}
        late = [engine_id for engine_id, since in self._draining.items() if now - since >= self._drain_s]
        for name, count in self._residency.in_use_of(late).items():
            logger.warning("retired adapter %s is still used by %d requests after %g s", name, count, self._drain_s)

    def _tell(self) -> None:
        problems = {**self._residency.missing_pins(), **self._problems}
        for ref, problem in problems.items():
            if self._told.get(ref) != problem:
                logger.warning("pinned adapter %s is not loaded: %s", ref, problem)
        self._told = problems
