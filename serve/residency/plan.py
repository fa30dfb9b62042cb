"""The residency decision: a pure function from what is loaded, wanted and in use to what to load and evict."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class State:
    """What a replica's engine holds.

    Attributes:
        capacity: Adapters that may be resident at once.
        last_used: Resident adapters by engine id, with the time of their last use in seconds of any one clock.
        wanted: Engine ids that requests wait for, longest waiting first.
    """

    capacity: int
    last_used: Mapping[int, float]
    wanted: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do next.

    Attributes:
        load: Engine ids to load, in this order, after the evictions.
        evict: Engine ids to take out first.
    """

    load: tuple[int, ...]
    evict: tuple[int, ...]


def plan(state: State, in_use: Collection[int], now: float) -> Plan:
    """Decide which adapters to load and which to evict.

    An adapter in use or waited for is never evicted; of the others the least recently used go first. Where all places
    are taken by adapters in use, fewer are loaded than wanted, in the order of their waiting.

    Args:
        state: What is resident and what is wanted.
        in_use: Engine ids with requests in flight.
        now: Time on the clock of `state.last_used`; an adapter last used in the future counts as used now.
    """
    missing = [engine_id for engine_id in dict.fromkeys(state.wanted) if engine_id not in state.last_used]
    protected = set(in_use) | set(state.wanted)
    idle = sorted(
        (engine_id for engine_id in state.last_used if engine_id not in protected),
        key=lambda engine_id: (min(state.last_used[engine_id], now), engine_id),
    )
    free = state.capacity - len(state.last_used)
    load = missing[: max(0, free + len(idle))]
    evict = idle[: max(0, len(load) - max(0, free))]
    return Plan(load=tuple(load), evict=tuple(evict))
