from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import ray

from indexer.board import Board


class Actor:
    """Stands in for an actor's handle: what `take` is answered with, or the error that fetching it raises."""

    def __init__(self) -> None:
        self.take = self.tell = self
        self.asked = 0

    def remote(self, *_: object) -> int:
        self.asked += 1
        return self.asked


@pytest.fixture
def board() -> Board[str]:
    made: Board[str] = Board.__new__(Board)
    made.__setstate__({"_actor": Actor()})
    return made


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[object]]:
    """Let `ray.get` give these answers one after the other; returns the references it was asked for."""

    def program(*answers: list[str] | Exception) -> list[object]:
        fetched: list[object] = []
        left = iter(answers)

        def get(reference: object, *, timeout: float) -> list[str]:
            assert timeout > 0
            fetched.append(reference)
            answer = next(left)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr("indexer.board.ray", SimpleNamespace(get=get, exceptions=ray.exceptions))
        return fetched

    return program


def test_a_late_answer_is_waited_for_again_and_nothing_is_missed(
    board: Board[str], answer: Callable[..., list[object]]
) -> None:
    fetched = answer(ray.exceptions.GetTimeoutError("late"), ["a", "b"], ["c"])
    assert board.take() == []
    assert (board.late, board.lost) == (True, False)
    assert board.take() == ["a", "b"]
    assert board.take() == ["c"]
    assert fetched == [1, 1, 2]
    assert (board.late, board.lost) == (False, False)


@pytest.mark.parametrize(
    "error", [ray.exceptions.ActorDiedError(), ray.exceptions.ActorUnavailableError("node gone", None)]
)
def test_a_lost_board_gives_nothing_and_is_not_asked_again(
    board: Board[str], answer: Callable[..., list[object]], caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    fetched = answer(["a"], error)
    assert board.take() == ["a"]
    with caplog.at_level(logging.WARNING):
        assert board.take() == []
    assert "the run goes on" in caplog.text
    assert board.lost
    assert board.take() == []
    assert fetched == [1, 2]


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_board_lives_and_dies_on_ray() -> None:
    board: Board[int] = Board()

    @ray.remote(num_cpus=0)
    def work(handle: Board[int], number: int) -> None:
        handle.tell(number)

    ray.get([work.remote(board, number) for number in range(3)])
    taken: list[int] = []
    until = time.monotonic() + 20
    while len(taken) < 3 and time.monotonic() < until:
        taken += board.take()
    assert sorted(taken) == [0, 1, 2]
    ray.kill(board._actor)
    ray.get(work.remote(board, 3))
    board.tell(4)
    assert board.take() == []
    assert board.lost
    board.close()
