from __future__ import annotations

import threading

import pytest
import torch

from indexer.embedding.batches import Batch
from indexer.embedding.passes import Passes

BATCHES: tuple[Batch, ...] = ((0,), (1, 2), (3,), (4,))


def test_every_lane_has_one_thread_and_all_run_at_once() -> None:
    meeting = threading.Barrier(2, timeout=10)
    seen: list[tuple[Batch, int]] = []

    def one(batch: Batch) -> None:
        meeting.wait()
        seen.append((batch, torch.get_num_threads()))

    Passes(lanes=2).run(BATCHES, one)
    assert sorted(seen) == [(batch, 1) for batch in BATCHES]


@pytest.mark.parametrize(("lanes", "batches"), [(1, BATCHES), (2, BATCHES[:1])])
def test_one_lane_and_one_batch_stay_in_the_callers_thread(lanes: int, batches: tuple[Batch, ...]) -> None:
    seen: list[tuple[Batch, int]] = []
    Passes(lanes=lanes).run(batches, lambda batch: seen.append((batch, threading.get_ident())))
    assert seen == [(batch, threading.get_ident()) for batch in batches]


def test_an_error_comes_out_once_nothing_runs_any_more() -> None:
    running: set[Batch] = set()

    def one(batch: Batch) -> None:
        running.add(batch)
        try:
            if batch == (1, 2):
                raise ValueError("too long")
        finally:
            running.discard(batch)

    passes = Passes(lanes=2)
    with pytest.raises(ValueError, match="too long"):
        passes.run(BATCHES, one)
    assert not running
    passes.run(BATCHES[2:], one)
