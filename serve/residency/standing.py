"""What residency tells of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one adapter, for a counter.

    Attributes:
        kind: 'load': it came into the engine; 'evict': it made room or was retired; 'refused': its load failed; 'lost':
            it was in the books and not in the engine; 'stray': the other way round.
        adapter: Its engine name.
    """

    kind: Literal["load", "evict", "refused", "lost", "stray"]
    adapter: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand with a replica's adapters.

    Attributes:
        resident: Adapters in the engine.
        in_use: Adapters with requests in flight.
        waiting: Adapters that requests wait for.
        swaps: Adapters that were loaded in the place of another, since the start.
        worst_wait_s: The longest that a request has waited for its adapter's turn, since the start.
    """

    resident: int
    in_use: int
    waiting: int
    swaps: int
    worst_wait_s: float


def ignore(event: Event) -> None:
    """Count nothing."""
