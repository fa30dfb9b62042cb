"""What was measured, and the ratios that it gives. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from indexer.progress import EmbeddedBatch


@dataclass(frozen=True, slots=True)
class Span:
    """The embedding part of a run.

    Attributes:
        batches: Calls of the embedding actors.
        chunks: Texts in them.
        load_s: Longest that an actor took to load the model.
        first_to_last_s: From the moment that the first actor had texts and its model to the end of the last batch.
        models: How often a model was loaded.
    """

    batches: int
    chunks: int
    load_s: float
    first_to_last_s: float
    models: int


@dataclass(frozen=True, slots=True)
class FullRun:
    """The first run over all documents.

    Attributes:
        documents: Documents that were indexed.
        failed: Documents that were not.
        chunks: Chunks written.
        seconds: From the list of paths to the end of the run, model load and verification counted.
        stages: Seconds per stage, as in the report of a run.
        span: Its embedding part.
    """

    documents: int
    failed: int
    chunks: int
    seconds: float
    stages: dict[str, float]
    span: Span


@dataclass(frozen=True, slots=True)
class Alone:
    """The embedder by itself: a new worker that loads the model and encodes the batches of the run in their order.

    Attributes:
        threads: Torch threads.
        load_s: Seconds to import what it needs and to load the model.
        encode_s: Seconds from the first batch to the last.
    """

    threads: int
    load_s: float
    encode_s: float


@dataclass(frozen=True, slots=True)
class ShortRun:
    """A run over a collection that holds the documents already.

    Attributes:
        seconds: As in `FullRun`.
        documents: Documents that were written.
        embedded: Chunks that the embedding actors were given.
        written: Chunks that were stored.
        models: How often a model was loaded.
    """

    seconds: float
    documents: int
    embedded: int
    written: int
    models: int


@dataclass(frozen=True, slots=True)
class Ratios:
    """What the measurement is for; None where a run was not made.

    Attributes:
        end_to_end: Chunks per second of the full run over those of the embedder alone, model load counted in both.
        first_to_last_batch: The same from first to last batch, load counted in neither.
        second_run_s: Median seconds of a run that finds nothing changed.
        one_changed_s: Median seconds of a run that finds one changed document.
    """

    end_to_end: float
    first_to_last_batch: float
    second_run_s: float | None
    one_changed_s: float | None


def span_of(batches: Sequence[EmbeddedBatch]) -> Span:
    """Return the embedding part of a run."""
    return Span(
        batches=len(batches),
        chunks=sum(len(batch.texts) for batch in batches),
        load_s=max((batch.load_s for batch in batches), default=0.0),
        first_to_last_s=max((batch.ended for batch in batches), default=0.0)
        - min((batch.began for batch in batches), default=0.0),
        models=sum(batch.load_s > 0 for batch in batches),
    )


def ratios_of(full: FullRun, alone: Alone, *, second: Sequence[ShortRun], changed: Sequence[ShortRun]) -> Ratios:
    """Return the ratios; both sides embedded the same chunks, so seconds stand for chunks per second."""
    return Ratios(
        end_to_end=(alone.load_s + alone.encode_s) / full.seconds,
        first_to_last_batch=alone.encode_s / full.span.first_to_last_s,
        second_run_s=_median(second),
        one_changed_s=_median(changed),
    )


def _median(runs: Sequence[ShortRun]) -> float | None:
    return statistics.median(run.seconds for run in runs) if runs else None
