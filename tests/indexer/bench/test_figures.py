from __future__ import annotations

import pytest

from indexer.bench.figures import Alone, FullRun, ShortRun, ratios_of, span_of
from indexer.progress import EmbeddedBatch

TWO_ACTORS = (
    EmbeddedBatch(texts=("a", "b"), began=14.0, load_s=4.0, ended=16.0),
    EmbeddedBatch(texts=("c", "d"), began=16.0, load_s=5.0, ended=18.0),
    EmbeddedBatch(texts=("e",), began=16.0, load_s=0.0, ended=24.0),
)


def test_span_begins_when_the_first_model_is_loaded() -> None:
    span = span_of(TWO_ACTORS)
    assert (span.batches, span.chunks, span.models) == (3, 5, 2)
    assert span.load_s == 5.0
    assert span.first_to_last_s == 24.0 - 14.0


def test_span_of_nothing() -> None:
    assert span_of([]).first_to_last_s == 0.0
    assert span_of([]).models == 0


def test_load_counts_end_to_end_and_not_from_first_to_last() -> None:
    full = FullRun(documents=1, failed=0, chunks=5, seconds=20.0, stages={}, span=span_of(TWO_ACTORS))
    ratios = ratios_of(
        full, Alone(threads=2, load_s=6.0, encode_s=9.0), second=[], changed=[short(3), short(9), short(4)]
    )
    assert ratios.end_to_end == pytest.approx(0.75)
    assert ratios.first_to_last_batch == pytest.approx(0.9)
    assert ratios.second_run_s is None
    assert ratios.one_changed_s == 4


def short(seconds: float) -> ShortRun:
    return ShortRun(seconds=seconds, documents=0, embedded=0, written=0, models=0)
