from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.routing.choose import BOUND, ENOUGH_QUEUED, ENOUGH_RECENT, ReplicaView, Wish, choose, copies, rank

NAMES = ("r1", "r2", "r3", "r4")


def replicas(**changed: dict[str, object]) -> list[ReplicaView]:
    return [ReplicaView(name, **changed.get(name, {})) for name in NAMES]


def test_an_adapter_goes_where_it_is() -> None:
    choice = choose(replicas(r3={"models": frozenset({"ropes"}), "queue": 2}), Wish(model="ropes"))
    assert (choice.replica, choice.why) == ("r3", "hit")


def test_an_adapter_that_is_nowhere_has_one_home() -> None:
    choices = {choose(replicas(), Wish(model="ropes")) for _ in range(5)}
    assert len(choices) == 1
    assert choices.pop().why == "home"


def test_a_replica_that_has_too_much_to_do_gets_nothing_more() -> None:
    busy = {"models": frozenset({"ropes"}), "queue": 9}
    choice = choose(replicas(r3=busy), Wish(model="ropes"))
    assert choice.replica != "r3"
    assert choice.why == "spill"


def test_a_replica_that_got_too_much_lately_gets_nothing_more() -> None:
    recent = {name: {"recent": 20.0} for name in NAMES}
    recent["r3"] = {"recent": 36.0, "models": frozenset({"ropes"})}
    assert choose(replicas(**recent), Wish(model="ropes")).why == "spill"


def test_the_one_of_two_that_has_less_to_do_serves_an_adapter_that_both_have() -> None:
    both = {"models": frozenset({"ropes"})}
    choice = choose(replicas(r1={**both, "queue": 3}, r2={**both, "queue": 1}), Wish(model="ropes"))
    assert (choice.replica, choice.why) == ("r2", "hit")


def test_a_hot_adapter_is_spread() -> None:
    having = {"models": frozenset({"ropes"})}
    choice = choose(replicas(r2=having), Wish(model="ropes", share=0.3))
    assert choice.replica != "r2"
    assert choice.why == "spread"
    assert choose(replicas(r2=having), Wish(model="ropes", share=0.1)).why == "hit"
    assert [copies(share, 4) for share in (0.0, 0.125, 0.13, 0.3, 0.5, 1.0)] == [1, 1, 2, 3, 4, 4]


def test_a_replica_that_would_refuse_is_left_out() -> None:
    full = {"models": frozenset({"ropes"}), "queue": 3, "capacity": 3}
    assert choose(replicas(r1=full), Wish(model="ropes")).replica != "r1"


def test_a_replica_that_is_not_ready_is_left_out_while_another_is() -> None:
    unready = {"ready": False, "models": frozenset({"ropes"})}
    assert choose(replicas(r1=unready), Wish(model="ropes")).replica != "r1"
    assert choose([ReplicaView("r1", ready=False)], Wish()).replica == "r1"


def test_sessions_and_prefixes_stay_where_they_were_and_move_little() -> None:
    sessions = [f"s{number}" for number in range(200)]
    before = {session: choose(replicas(), Wish(session=session)) for session in sessions}
    assert {choice.why for choice in before.values()} == {"session"}
    assert {choice.replica for choice in before.values()} == set(NAMES)
    after = {session: choose(replicas()[:3], Wish(session=session)).replica for session in sessions}
    assert all(after[s] == before[s].replica for s in sessions if before[s].replica != "r4")
    assert choose(replicas(), Wish(prefix="p")).why == "prefix"


def test_what_has_no_affinity_goes_where_there_is_least_to_do() -> None:
    choice = choose(replicas(r1={"queue": 2}, r2={"queue": 1}, r3={"queue": 3}, r4={"queue": 2}), Wish())
    assert (choice.replica, choice.why) == ("r2", "balance")


views = st.builds(
    ReplicaView,
    name=st.sampled_from([f"r{n}" for n in range(8)]),
    models=st.frozensets(st.sampled_from("abc")),
    queue=st.floats(0, 500),
    recent=st.floats(0, 500),
    capacity=st.sampled_from([4.0, 64.0, 1e9]),
    ready=st.booleans(),
)
wishes = st.builds(
    Wish,
    model=st.none() | st.sampled_from("abcd"),
    session=st.none() | st.text(max_size=3),
    prefix=st.none() | st.text(max_size=3),
    share=st.floats(0, 1),
)


@given(st.lists(views, min_size=1, max_size=8, unique_by=lambda view: view.name), wishes, st.randoms())
def test_every_choice_is_one_of_them_and_within_the_bound(
    given_views: list[ReplicaView], wish: Wish, random: object
) -> None:
    choice = choose(given_views, wish)
    chosen = next(view for view in given_views if view.name == choice.replica)
    candidates = [view for view in given_views if view.ready] or given_views
    assert chosen in candidates
    if choice.why == "hit":
        assert wish.model in chosen.models
    light = [view for view in candidates if view.queue < view.capacity] or candidates
    mean = (sum(view.queue for view in candidates) + 1) / len(candidates)
    fits = [view for view in light if view.queue + 1 <= max(BOUND * mean, mean + ENOUGH_QUEUED)]
    assert chosen in (fits or light)
    lately = (sum(view.recent for view in candidates) + 1) / len(candidates)
    even = [view for view in fits if view.recent + 1 <= max(BOUND * lately, lately + ENOUGH_RECENT)]
    assert not even or chosen in even
    shuffled = list(given_views)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    if choice.why in ("home", "session", "prefix"):
        assert choose(shuffled, wish) == choice


@pytest.mark.parametrize("count", [2, 4, 8])
def test_keys_are_spread_evenly(count: int) -> None:
    views = [ReplicaView(f"r{number}") for number in range(count)]
    firsts = [rank(views, f"key{number}")[0].name for number in range(2000)]
    assert max(firsts.count(view.name) for view in views) < 1.2 * 2000 / count
