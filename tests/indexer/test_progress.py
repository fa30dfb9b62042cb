from __future__ import annotations

import time
from typing import cast

import pytest

from indexer import progress
from indexer.board import Board
from indexer.progress import Counts, LiveCounts, Reporter, pace, seconds_left
from indexer.run.report import IndexProgress


class Told:
    """Stands in for a board: each look takes the next of these; None is a look that gets no answer in time."""

    def __init__(self, *looks: list[Counts] | None, lost_after: int = 1000) -> None:
        self.looks = list(looks)
        self.number = 0
        self.lost_after = lost_after
        self.late = False

    @property
    def lost(self) -> bool:
        return self.number >= self.lost_after

    def take(self) -> list[Counts]:
        self.number += 1
        look = self.looks.pop(0) if self.looks and not self.lost else []
        self.late = look is None
        return look or []


def live(board: Told) -> LiveCounts:
    return LiveCounts(cast("Board[Counts]", board))


def test_counts_add_up() -> None:
    assert Counts(documents=1, write_busy=0.5).plus(Counts(documents=2, chunks=3)) == Counts(
        documents=3, chunks=3, write_busy=0.5
    )


def test_the_sum_says_whether_it_is_whole() -> None:
    counts = live(Told([Counts(documents=1), Counts(chunks=2)], None, [Counts(documents=1)], lost_after=4))
    assert (counts.update(), counts.whole) == (Counts(documents=1, chunks=2), True)
    assert (counts.update(), counts.whole) == (Counts(documents=1, chunks=2), False)
    assert (counts.update(), counts.whole) == (Counts(documents=2, chunks=2), True)
    assert (counts.update(), counts.whole) == (Counts(documents=2, chunks=2), False)


def test_following_goes_on_after_a_late_answer_and_ends_when_the_board_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "_ASK_EVERY_S", 0.01)
    heard: list[IndexProgress] = []
    board = Told([Counts(documents=1)], None, [Counts(documents=1)], lost_after=4)
    with Reporter(heard.append).following(live(board), total=9, failed=2):
        until = time.monotonic() + 10
        while not board.lost and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.05)
    assert [(moment.stage, moment.documents, moment.documents_total, moment.failed) for moment in heard] == [
        ("index", 1, 9, 2), ("index", 1, 9, 2), ("index", 2, 9, 2)
    ]  # fmt: skip
    assert board.number == 4


def test_the_pace_is_known_after_some_seconds() -> None:
    assert pace((10.0, 100), (12.0, 200)) is None
    assert pace((10.0, 100), (15.0, 350)) == 50.0


def test_what_is_left_is_guessed_from_the_documents_so_far() -> None:
    counts = Counts(documents=9, failed=1, chunks=100, chunks_written=60)
    assert seconds_left(counts, total=40, chunks_per_s=10.0) == pytest.approx((400 - 60) / 10)
    assert seconds_left(counts, total=10, chunks_per_s=10.0) == pytest.approx(4.0)
    assert seconds_left(counts, total=5, chunks_per_s=10.0) == pytest.approx(4.0)  # repeated tasks count twice
    assert seconds_left(counts, total=40, chunks_per_s=None) is None
    assert seconds_left(counts, total=40, chunks_per_s=0.0) is None
    assert seconds_left(Counts(), total=40, chunks_per_s=1.0) is None


def test_following_tells_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_ASK_EVERY_S", 0.01)
    monkeypatch.setattr(progress, "_SETTLED_S", 0.05)
    heard: list[IndexProgress] = []
    board = Told(*([Counts(documents=1, chunks=4, chunks_written=2)] for _ in range(30)), lost_after=31)
    with Reporter(heard.append).following(live(board), total=100, failed=0):
        until = time.monotonic() + 10
        while not board.lost and time.monotonic() < until:
            time.sleep(0.01)
    assert heard[0].chunks_per_s is None
    last = heard[-1]
    assert last.chunks_per_s is not None
    assert last.seconds_left == pytest.approx((400 - last.chunks_written) / last.chunks_per_s)


def test_a_stage_goes_on_with_what_was_told_before() -> None:
    heard: list[IndexProgress] = []
    reporter = Reporter(heard.append)
    reporter.advance(1, total=2)
    assert heard == []
    reporter.tell("finish", counts=Counts(documents=7, chunks=9, chunks_written=9), failed=2)
    reporter.advance(3, total=5)
    first, second = heard
    assert second.seconds >= first.seconds
    assert (second.documents, second.documents_total) == (3, 5)
    assert (second.stage, second.chunks, second.chunks_written, second.failed) == ("finish", 9, 9, 2)
    Reporter(None).advance(1, total=1)
