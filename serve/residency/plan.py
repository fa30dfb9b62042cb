"""The residency decision: a pure function from what is loaded, wanted and in use to what to load, evict and let pass.

An engine has two limits. Its memory keeps `capacity` adapters; one batch works with `slots` of them, and vLLM 0.29
passes over requests of further ones for as long as the others have any (vllm/v1/core/sched/scheduler.py, "Scheduling
would exceed max_loras, skip"). So no more than `slots` adapters have requests in the engine at once, and they take
turns as in LoRAX: an adapter whose turn has lasted a cycle gives way to those that wait, its new requests behind them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class State:
    """What a replica's engine holds.

    Attributes:
        capacity: Adapters that may be resident at once.
        slots: Adapters that may be in use at once.
        last_used: Resident adapters by engine id, with the time of their last use in seconds of any one clock.
        wanted: Engine ids that requests wait for, longest waiting first.
        turns: When the turn of each adapter with requests in flight began, on the same clock.
        cycle_s: Seconds after which a turn ends where others wait.
        pinned: Engine ids to load whether they are wanted or not, and never to evict.
        retired: Engine ids to evict as soon as they are idle and nobody waits for them: names lead to them no more, and
            requests that were on their way before are still served.
    """

    capacity: int
    slots: int
    last_used: Mapping[int, float]
    wanted: Sequence[int] = ()
    turns: Mapping[int, float] = field(default_factory=dict)
    cycle_s: float = 2.0
    pinned: Collection[int] = ()
    retired: Collection[int] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do next.

    Attributes:
        load: Engine ids to load, in this order, each after one of the evictions where no place is free.
        evict: Engine ids to take out.
        admit: Resident engine ids whose waiting requests may go to the engine.
        yielding: Engine ids in use whose new requests wait until those in flight have ended.
        again_at: When the next turn is over that others wait for; None where nothing changes by time alone.
    """

    load: tuple[int, ...] = ()
    evict: tuple[int, ...] = ()
    admit: tuple[int, ...] = ()
    yielding: tuple[int, ...] = ()
    again_at: float | None = None


def plan(state: State, in_use: Collection[int], now: float) -> Plan:
    """Decide which adapters to load, which to evict, which to let pass and which must give way.

    Those that wait are served in the order of their waiting. An adapter in use or pinned is never evicted; of the
    others retired ones go at once, then the least recently used that nobody waits for, then those that wait last.

    Args:
        state: What is resident and what is wanted.
        in_use: Engine ids with requests in flight, and those that are being loaded.
        now: Time on the clock of `state`; an adapter last used in the future counts as used now.
    """
    pinned = set(state.pinned)
    waiting = list(dict.fromkeys(state.wanted))
    kept = {*in_use, *pinned}
    evict = sorted(set(state.retired).intersection(state.last_used) - kept - set(waiting))
    free = state.capacity - len(state.last_used) + len(evict)
    idle = _evictable(state, kept.union(evict), waiting, now)
    slots = state.slots - len(set(in_use))
    load: list[int] = []
    admit: list[int] = []
    short = 0

    def find_place() -> bool:
        nonlocal free
        if free > 0:
            free -= 1
        elif idle:
            evict.append(idle.pop(0))
        else:
            return False
        return True

    for engine_id in sorted(pinned - set(state.last_used)):
        if find_place():
            load.append(engine_id)
            slots -= 1
        elif len(pinned) <= state.capacity:
            short += 1
    for engine_id in waiting:
        if engine_id in in_use or engine_id in load:
            continue
        if slots > 0 and engine_id in state.last_used and engine_id not in evict:
            admit.append(engine_id)
            slots -= 1
            if engine_id in idle:
                idle.remove(engine_id)
        elif slots > 0 and find_place():
            load.append(engine_id)
            slots -= 1
        else:
            short += 1
    by_age = sorted((engine_id in pinned, began, engine_id) for engine_id, began in state.turns.items())
    over = [engine_id for _, began, engine_id in by_age if now - began >= state.cycle_s]
    yielding = tuple(over[:short])
    admit += [engine_id for engine_id in waiting if engine_id in state.turns and engine_id not in yielding]
    later = [began + state.cycle_s for engine_id, began in state.turns.items() if engine_id not in over]
    again_at = min(later) if later and short > len(over) else None
    return Plan(tuple(load), tuple(evict), tuple(admit), yielding, again_at)


def _evictable(state: State, kept: Collection[int], waiting: Sequence[int], now: float) -> list[int]:
    """Resident engine ids that may go, the first to go first."""
    place = {engine_id: position for position, engine_id in enumerate(waiting)}
    return sorted(
        (engine_id for engine_id in state.last_used if engine_id not in kept),
        key=lambda engine_id: (
            engine_id in place,
            -place.get(engine_id, 0),
            min(state.last_used[engine_id], now),
            engine_id,
        ),
    )
