"""Measures how late the event loop runs what is due: every request of the replica waits that long, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

INTERVAL_S = 0.5


async def follow_lag(observe: Callable[[float], None], *, interval_s: float = INTERVAL_S) -> None:
    """Give the lag in seconds to `observe` after every interval, until cancelled.

    Args:
        observe: Takes the seconds that a timer came late; called on the loop.
        interval_s: Seconds between two looks.
    """
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval_s
        await asyncio.sleep(interval_s)
        observe(max(0.0, loop.time() - due))
