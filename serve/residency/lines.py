"""The lines in which requests wait for their adapters, one line to an adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Lines:
    """Who waits for which adapter, and since when. Touched on one event loop."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        """Start empty.

        Args:
            clock: Monotonic time in seconds.
        """
        self._clock = clock
        self._lines: dict[int, dict[asyncio.Future[None], float]] = {}
        self._worst_wait_s = 0.0

    @property
    def wanted(self) -> tuple[int, ...]:
        """Engine ids that somebody waits for, by the time the line for each began."""
        return tuple(self._lines)

    @property
    def worst_wait_s(self) -> float:
        """Seconds of the longest wait that ended with a turn or lasts still."""
        now = self._clock()
        waits = [now - since for line in self._lines.values() for since in line.values()]
        return max([self._worst_wait_s, *waits])

    def join(self, engine_id: int) -> asyncio.Future[None]:
        """Stand in line; what comes back is done when the turn has come."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(engine_id, {})[turn] = self._clock()
        return turn

    def quit(self, engine_id: int, turn: asyncio.Future[None]) -> bool:
        """Leave the line; False for one that stands there no more."""
        line = self._lines.get(engine_id, {})
        if turn not in line:
            return False
        del line[turn]
        if not line:
            del self._lines[engine_id]
        return True

    def admit(self, engine_id: int) -> int:
        """Let all in one line pass.

        Returns:
            How many there were.
        """
        now = self._clock()
        line = self._lines.pop(engine_id, {})
        passed = [(turn, since) for turn, since in line.items() if not turn.done()]
        for turn, since in passed:
            turn.set_result(None)
            self._worst_wait_s = max(self._worst_wait_s, now - since)
        return len(passed)

    def refuse(self, engine_id: int, error: Exception) -> None:
        """Send all in one line away."""
        for turn in self._lines.pop(engine_id, {}):
            if not turn.done():
                turn.set_exception(error)
