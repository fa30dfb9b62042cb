from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serve.admission.queue import FairQueue


def drain(queue: FairQueue[str]) -> list[str]:
    taken = []
    while (item := queue.pop()) is not None:
        taken.append(item)
    return taken


def test_tenants_take_turns_each_in_its_own_order() -> None:
    queue: FairQueue[str] = FairQueue(capacity=9)
    for item in ("a1", "a2", "a3", "b1", "c1", "c2"):
        assert queue.push(item[0], item) is None
    assert drain(queue) == ["a1", "b1", "c1", "a2", "c2", "a3"]


def test_a_full_queue_drops_the_newest_of_whoever_has_the_most() -> None:
    queue: FairQueue[str] = FairQueue(capacity=3)
    for item in ("a1", "a2", "a3"):
        queue.push("a", item)
    assert queue.push("b", "b1") == "a3"
    assert queue.push("a", "a4") == "a4"
    assert drain(queue) == ["a1", "b1", "a2"]


def test_where_two_have_the_most_the_newcomer_goes() -> None:
    queue: FairQueue[str] = FairQueue(capacity=2)
    queue.push("a", "a1")
    queue.push("b", "b1")
    assert queue.push("b", "b2") == "b2"
    assert queue.push("c", "c1") in ("b1", "c1", "a1")


def test_what_gave_up_is_no_longer_there() -> None:
    queue: FairQueue[str] = FairQueue(capacity=3)
    queue.push("a", "a1")
    queue.push("a", "a2")
    assert queue.remove("a", "a1")
    assert not queue.remove("a", "a1")
    assert not queue.remove("b", "b1")
    assert drain(queue) == ["a2"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60), st.integers(1, 8))
def test_nothing_is_lost_and_nobody_is_dropped_for_one_that_has_more(
    steps: list[tuple[str, bool]], capacity: int
) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue(capacity=capacity)
    waiting: list[tuple[str, int]] = []
    for number, (tenant, takes) in enumerate(steps):
        if takes:
            item = queue.pop()
            assert (item is None) == (not waiting)
            if item is not None:
                assert item == next(each for each in waiting if each[0] == item[0])
                waiting.remove(item)
            continue
        waiting.append((tenant, number))
        dropped = queue.push(tenant, (tenant, number))
        if dropped is not None:
            counts = {name: sum(each[0] == name for each in waiting) for name in "abc"}
            assert counts[dropped[0]] == max(counts.values())
            waiting.remove(dropped)
        assert len(queue) == len(waiting) <= capacity
