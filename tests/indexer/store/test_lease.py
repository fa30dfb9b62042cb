from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from indexer.store.lease import LEASE_S, SKEW_S, Claim, next_number, rivals, step, superseded_by


def claim(key: str = "a", *, tenant: str = "", number: int = 1, since: float = 1000.0) -> Claim:
    return Claim(
        key=key,
        collection="handbook",
        tenant=tenant,
        number=number,
        host="tarn",
        machine="m",
        pid=7,
        started=1,
        user="ada",
        since=since,
        expires=since + LEASE_S,
    )


def against(mine: Claim, *others: Claim, now: float = 1001.0, gone: tuple[str, ...] = ()) -> list[Claim]:
    return rivals(mine, [mine, *others], now=now, gone=lambda other: other.key in gone)


@pytest.mark.parametrize(
    ("mine", "other", "collide"),
    [("", "", True), ("", "red", True), ("red", "", True), ("red", "red", True), ("red", "blue", False)],
)
def test_tenants_are_written_side_by_side_and_a_whole_collection_alone(mine: str, other: str, collide: bool) -> None:
    assert bool(against(claim("a", tenant=mine), claim("b", tenant=other))) is collide


def test_a_claim_counts_until_its_end_and_the_difference_of_clocks_or_the_death_of_its_process() -> None:
    other = claim("b")
    end = other.expires + SKEW_S
    assert against(claim(), other, now=end) == [other]
    assert against(claim(), other, now=end + 0.1) == []
    assert against(claim(), other, gone=("b",)) == []


def test_who_sees_nobody_holds_and_of_those_who_see_each_other_only_the_first_looks_again() -> None:
    assert step(claim(), [claim()], []) == "held"
    claims = [claim("a", since=1), claim("b", since=2), claim("c", since=2)]
    for order in permutations(claims):
        steps = {mine.key: step(mine, order, against(mine, *order, now=3)) for mine in order}
        assert steps == {"a": "look again", "b": "withdraw", "c": "withdraw"}


def test_a_claim_that_is_not_found_again_does_not_hold() -> None:
    assert step(claim(), [], []) == "withdraw"


def test_a_successor_has_a_greater_number_than_a_holder_who_comes_back_late() -> None:
    late = claim("late", number=4)
    successor = claim("next", number=next_number([late]))
    assert superseded_by(late, [successor]) == successor
    assert superseded_by(successor, [replace(late, expires=9e9)]) is None
    assert next_number([]) == 1


def test_the_holder_is_described_with_the_end_of_its_lease() -> None:
    text = claim(tenant="red").describe()
    for part in ("process 7 of ada on tarn", "tenant 'red' of collection 'handbook'", "1970-01-01 00:17:55Z"):
        assert part in text
