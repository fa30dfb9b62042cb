"""The sliding window: how much of the last minute is used, from two counters. Pure.

The count of the minute that has ended weighs as much as of it still lies within the last sixty seconds (the sliding
window counter of Cloudflare's "How we built rate limiting capable of scaling to millions of domains", 2017). So a limit
costs two numbers a key, however many requests there are, and what was reserved can be given back to its own minute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

WINDOW_S = 60


@dataclass(frozen=True, slots=True)
class Instant:
    """A place in time.

    Attributes:
        minute: Number of the minute since the epoch.
        into_s: Seconds of it that have passed.
    """

    minute: int
    into_s: float


def instant_of(now: float) -> Instant:
    """The place of a Unix time in seconds."""
    return Instant(minute=int(now // WINDOW_S), into_s=now % WINDOW_S)


def used(previous: int, current: int, *, into_s: float) -> float:
    """What counts of the last sixty seconds.

    Args:
        previous: Count of the minute before.
        current: Count of this minute.
        into_s: Seconds of this minute that have passed.
    """
    return max(0, previous) * (1 - into_s / WINDOW_S) + max(0, current)


def seconds_until_free(previous: int, current: int, *, amount: int, limit: int, into_s: float) -> float:
    """Seconds until an amount fits, if nothing else is taken meanwhile; 0 where it fits now.

    Args:
        previous: Count of the minute before.
        current: Count of this minute.
        amount: What is wanted; no more than the limit.
        limit: The limit.
        into_s: Seconds of this minute that have passed.
    """
    if used(previous, current, into_s=into_s) + amount <= limit:
        return 0.0
    if current + amount <= limit:
        return _when(previous, limit - amount - max(0, current)) - into_s
    return WINDOW_S - into_s + _when(current, limit - amount)


def _when(count: int, room: int) -> float:
    """Seconds into a minute at which a count of the minute before weighs no more than the room."""
    return WINDOW_S * (1 - room / count) if count > room else 0.0


def whole_seconds(seconds: float) -> int:
    """Seconds for a Retry-After header: whole, and at least one."""
    return max(1, math.ceil(seconds))
