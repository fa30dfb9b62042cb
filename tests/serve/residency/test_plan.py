from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serve.residency.plan import Plan, State, plan


def test_a_free_place_is_used_before_anything_is_evicted() -> None:
    assert plan(State(capacity=2, slots=2, last_used={1: 5.0}, wanted=[2]), (), 9.0) == Plan(load=(2,))


def test_the_least_recently_used_idle_adapter_goes() -> None:
    state = State(capacity=2, slots=2, last_used={1: 5.0, 2: 3.0}, wanted=[3])
    assert plan(state, (), 9.0) == Plan(load=(3,), evict=(2,))


def test_an_adapter_in_use_or_waited_for_stays() -> None:
    state = State(capacity=2, slots=2, last_used={1: 5.0, 2: 3.0}, wanted=[1, 3], turns={2: 8.0})
    assert plan(state, {2}, 9.0) == Plan(admit=(1,), again_at=10.0)


def test_the_longest_waiting_is_loaded_first() -> None:
    state = State(capacity=1, slots=1, last_used={1: 1.0}, wanted=[4, 3])
    assert plan(state, (), 9.0) == Plan(load=(4,), evict=(1,))


def test_who_waits_longer_takes_the_place_of_a_resident_adapter_that_somebody_waits_for() -> None:
    state = State(capacity=1, slots=1, last_used={1: 1.0}, wanted=[4, 1])
    assert plan(state, (), 9.0) == Plan(load=(4,), evict=(1,))


def test_a_slot_is_not_a_place() -> None:
    """Two adapters have a place and one may be in use: what is resident waits for its turn all the same."""
    state = State(capacity=2, slots=1, last_used={1: 1.0, 2: 1.0}, wanted=[2], turns={1: 5.0}, cycle_s=2.0)
    assert plan(state, {1}, 6.0) == Plan(again_at=7.0)
    assert plan(state, {1}, 7.0) == Plan(yielding=(1,))


def test_an_adapter_gives_way_after_its_turn_and_only_where_others_wait() -> None:
    state = State(capacity=2, slots=2, last_used={1: 0.0, 2: 0.0}, wanted=[1], turns={1: 0.0, 2: 1.0}, cycle_s=2.0)
    assert plan(state, {1, 2}, 9.0) == Plan(admit=(1,))
    crowded = State(capacity=2, slots=2, last_used={1: 0.0, 2: 0.0}, wanted=[3, 1], turns={1: 0.0, 2: 1.0}, cycle_s=2.0)
    assert plan(crowded, {1, 2}, 9.0) == Plan(yielding=(1,))


def test_a_pinned_adapter_is_loaded_unasked_and_never_evicted() -> None:
    state = State(capacity=1, slots=1, last_used={1: 1.0}, pinned={2})
    assert plan(state, (), 9.0) == Plan(load=(2,), evict=(1,))
    held = State(capacity=1, slots=1, last_used={2: 1.0}, wanted=[3], pinned={2})
    assert plan(held, (), 9.0) == Plan()


def test_a_retired_adapter_goes_when_it_is_idle_and_nobody_waits_for_it() -> None:
    retired = State(capacity=2, slots=2, last_used={1: 1.0, 2: 1.0}, retired={1})
    assert plan(retired, (), 9.0) == Plan(evict=(1,))
    assert plan(retired, {1}, 9.0) == Plan()
    late = State(capacity=2, slots=2, last_used={1: 1.0, 2: 1.0}, wanted=[1], retired={1})
    assert plan(late, (), 9.0) == Plan(admit=(1,))


ids = st.integers(1, 12)


@st.composite
def states(draw: st.DrawFn) -> tuple[State, frozenset[int]]:
    capacity = draw(st.integers(1, 6))
    slots = draw(st.integers(1, capacity))
    resident = draw(st.lists(ids, max_size=capacity, unique=True))
    in_use = draw(st.lists(st.sampled_from(resident), max_size=slots, unique=True)) if resident else []
    state = State(
        capacity=capacity,
        slots=slots,
        last_used={engine_id: draw(st.floats(0, 100)) for engine_id in resident},
        wanted=draw(st.lists(ids, max_size=8)),
        turns={engine_id: draw(st.floats(0, 50)) for engine_id in in_use if draw(st.booleans())},
        pinned=draw(st.frozensets(ids, max_size=2)),
        retired=draw(st.frozensets(ids, max_size=3)),
    )
    return state, frozenset(in_use)


@given(states())
def test_the_plan_keeps_its_promises(given_state: tuple[State, frozenset[int]]) -> None:
    state, in_use = given_state
    decision = plan(state, in_use, 50.0)
    resident = (set(state.last_used) - set(decision.evict)) | set(decision.load)
    assert len(resident) <= state.capacity
    assert not set(decision.evict) & (in_use | set(state.pinned))
    assert set(decision.evict) <= set(state.last_used)
    assert set(decision.load) <= (set(state.wanted) | set(state.pinned)) - set(state.last_used)
    working = in_use | (set(decision.admit) | set(decision.load)) - (set(state.pinned) - set(state.wanted))
    assert len(working) <= max(state.slots, len(in_use) + len(set(state.pinned) - set(state.last_used)))
    assert set(decision.admit) <= resident & set(state.wanted)
    assert set(decision.yielding) <= set(state.turns)
    assert not set(decision.yielding) & set(decision.admit)


@given(states())
def test_whoever_waits_longest_is_served_or_somebody_gives_way_for_it_in_time(
    given_state: tuple[State, frozenset[int]],
) -> None:
    state, in_use = given_state
    first = next((engine_id for engine_id in state.wanted if engine_id not in in_use), None)
    if first is None or set(in_use) - set(state.turns) or set(state.pinned):
        return
    decision = plan(state, in_use, 50.0)
    served = first in decision.load or first in decision.admit
    assert served or decision.yielding or decision.again_at is not None
    assert served or len(in_use) == state.slots
