"""A time-out that a late event loop does not use up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# The time is cut into so many parts, and a part that takes longer than it should, as something else held the loop
# meanwhile, counts as one part. A call needs some turns of the loop for its answer, a new connection some more.
PARTS = 20


@asynccontextmanager
async def patience(seconds: float) -> AsyncIterator[None]:
    """Give the body so many seconds, not counting those in which the event loop did not get to run.

    Raises:
        TimeoutError: The body was not done by then.
    """
    async with asyncio.timeout(None) as limit:
        parts = _Parts(limit, seconds=seconds)
        try:
            yield
        finally:
            parts.stop()


class _Parts:
    """Counts parts down, each on a timer of its own, and ends the time-out after the last."""

    def __init__(self, limit: asyncio.Timeout, *, seconds: float) -> None:
        self._limit = limit
        self._part_s = seconds / PARTS
        self._left = PARTS
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._part_s, self._over)

    def stop(self) -> None:
        self._timer.cancel()

    def _over(self) -> None:
        self._left -= 1
        if self._left:
            self._timer = self._loop.call_later(self._part_s, self._over)
        else:
            self._limit.reschedule(self._loop.time())
