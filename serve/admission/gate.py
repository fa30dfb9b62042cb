"""The gate in front of the engine: so many requests are worked on, so many wait, the rest is told when to come back."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from serve.admission.queue import FairQueue

# How many of the last requests say how fast turns come up.
_REMEMBERED = 64
# Bounds of what a client is told to wait, in seconds.
SOONEST_S, LATEST_S = 1, 60


class CrowdedError(Exception):
    """There is no place, not even to wait.

    Attributes:
        retry_after_s: Whole seconds after which it is worth another try.
    """

    def __init__(self, *, retry_after_s: int) -> None:
        """Keep the time to wait."""
        super().__init__(f"no place for {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Gate:
    """Admits requests to one replica. All state is touched on one event loop, so there is no lock."""

    def __init__(self, *, running: int, waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Open the gate.

        Args:
            running: Requests worked on at once.
            waiting: Requests that wait for that at most.
            clock: Monotonic time in seconds.
        """
        self._places = running
        self._running = 0
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue(capacity=waiting)
        self._capacity = waiting
        self._clock = clock
        self._ended: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def running(self) -> int:
        """Requests that are worked on."""
        return self._running

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    @asynccontextmanager
    async def place(self, tenant: str) -> AsyncIterator[None]:
        """Hold a place for the length of a request.

        Raises:
            CrowdedError: The queue is full, or became so and this tenant has the most in it.
        """
        await self._enter(tenant)
        try:
            yield
        finally:
            self._ended.append(self._clock())
            self._leave()

    async def _enter(self, tenant: str) -> None:
        if self._running < self._places and not len(self._queue):
            self._running += 1
            return
        if self._capacity < 1:
            raise CrowdedError(retry_after_s=self._retry_after_s())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        dropped = self._queue.push(tenant, turn)
        if dropped is not None and not dropped.done():  # one that was given up in this moment needs no answer
            dropped.set_exception(CrowdedError(retry_after_s=self._retry_after_s()))
        try:
            await turn
        except asyncio.CancelledError:
            if not self._queue.remove(tenant, turn) and not turn.cancelled() and turn.exception() is None:
                self._leave()  # its turn had come in the same moment
            raise

    def _leave(self) -> None:
        self._running -= 1
        while self._running < self._places and (turn := self._queue.pop()) is not None:
            if not turn.done():
                self._running += 1
                turn.set_result(None)

    def _retry_after_s(self) -> int:
        return retry_after_s(ahead=len(self._queue) + 1, ended=tuple(self._ended), now=self._clock())


def retry_after_s(*, ahead: int, ended: tuple[float, ...], now: float) -> int:
    """Whole seconds until as many requests have ended as stand ahead, at the pace of the last ones.

    Args:
        ahead: Requests that come first.
        ended: When the last requests ended, in seconds, oldest first.
        now: The time now, by the same clock.
    """
    if not ended:
        return SOONEST_S
    pace_s = (now - ended[0]) / len(ended)
    return max(SOONEST_S, min(LATEST_S, math.ceil(ahead * pace_s)))
