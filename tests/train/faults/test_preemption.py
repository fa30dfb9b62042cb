from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from train.faults.preemption import LOOK_SECONDS, Preemption, ToldToEndError


@dataclass
class Rank:
    """One rank that sees draining nodes, a clock and signals of its own."""

    going: set[str] = field(default_factory=set)
    now: float = 100.0
    told: bool = False
    looks: int = 0

    def preemption(self) -> Preemption:
        return Preemption(told=lambda: self.told, look=self._look, clock=lambda: self.now)

    def _look(self) -> set[str]:
        self.looks += 1
        return self.going


def _step(*ranks: Preemption) -> list[bool]:
    """One step of all ranks, which reduce their votes to the highest; who saves a checkpoint after it."""
    highest = [max(votes) for votes in zip(*(rank.votes() for rank in ranks), strict=True)]
    for rank in ranks:
        rank.decide(*highest)
    return [rank.due for rank in ranks]


def test_all_ranks_look_when_it_is_time_for_one_of_them() -> None:
    first, second = Rank(), Rank()
    ranks = first.preemption(), second.preemption()
    for _ in range(3):
        assert _step(*ranks) == [False, False]
    assert (first.looks, second.looks) == (1, 1)
    second.now += LOOK_SECONDS
    _step(*ranks)
    assert (first.looks, second.looks) == (2, 2)


def test_a_node_that_is_to_go_makes_one_checkpoint_due_and_another_node_one_more() -> None:
    rank = Rank(going={"a"})
    preemption = rank.preemption()
    assert _step(preemption) == [True]
    rank.now += LOOK_SECONDS
    assert _step(preemption) == [False]
    rank.now, rank.going = rank.now + LOOK_SECONDS, {"a", "b"}
    assert _step(preemption) == [True]
    assert not preemption.ending


def test_all_ranks_save_for_one_that_is_told_to_end_and_only_that_one_ends() -> None:
    staying, leaving = Rank(), Rank()
    ranks = staying.preemption(), leaving.preemption()
    assert _step(*ranks) == [False, False]
    leaving.told = True
    assert _step(*ranks) == [True, True]
    assert all(rank.ending for rank in ranks)
    ranks[0].after_checkpoint()
    with pytest.raises(ToldToEndError, match="SIGTERM"):
        ranks[1].after_checkpoint()
    assert _step(*ranks) == [False, False]
