from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serve.residency.plan import Plan, State, plan


def test_a_free_place_is_used_before_anything_is_evicted() -> None:
    assert plan(State(capacity=2, last_used={1: 5.0}, wanted=[2]), (), 9.0) == Plan(load=(2,), evict=())


def test_the_least_recently_used_idle_adapter_goes() -> None:
    state = State(capacity=2, last_used={1: 5.0, 2: 3.0}, wanted=[3])
    assert plan(state, (), 9.0) == Plan(load=(3,), evict=(2,))


def test_an_adapter_in_use_or_waited_for_stays() -> None:
    state = State(capacity=2, last_used={1: 5.0, 2: 3.0}, wanted=[3, 1])
    assert plan(state, {2}, 9.0) == Plan(load=(), evict=())


def test_the_longest_waiting_is_loaded_first() -> None:
    state = State(capacity=1, last_used={1: 1.0}, wanted=[4, 3])
    assert plan(state, (), 9.0) == Plan(load=(4,), evict=(1,))


ids = st.integers(1, 12)


@given(st.integers(1, 6), st.dictionaries(ids, st.floats(0, 100)), st.lists(ids, max_size=8), st.sets(ids))
def test_the_plan_keeps_its_promises(
    capacity: int, last_used: dict[int, float], wanted: list[int], in_use: set[int]
) -> None:
    last_used = dict(list(last_used.items())[:capacity])
    decision = plan(State(capacity=capacity, last_used=last_used, wanted=wanted), in_use, 50.0)
    resident = (set(last_used) - set(decision.evict)) | set(decision.load)
    assert len(resident) <= capacity
    assert set(decision.evict) <= set(last_used) - in_use - set(wanted)
    assert set(decision.load) <= set(wanted) - set(last_used)
    assert len(decision.evict) <= len(decision.load)
    missing = set(wanted) - set(last_used)
    if missing - set(decision.load):
        blocked = set(last_used) - set(decision.evict)
        assert len(blocked | set(decision.load)) == capacity
