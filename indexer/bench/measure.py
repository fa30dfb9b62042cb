"""Index documents into a collection that is dropped again, and hold the run against the embedder alone."""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from indexer.bench.alone import embed_alone
from indexer.bench.documents import change, changeable, copy_to, spread
from indexer.bench.figures import Alone, FullRun, Ratios, ShortRun, ratios_of, span_of
from indexer.board import Board
from indexer.errors import InputError, UnavailableError
from indexer.progress import EmbeddedBatch
from indexer.run.pipeline import run_index
from indexer.run.pool import embedder_pool, threads_per_actor
from indexer.run.report import IndexReport
from indexer.search import open_store
from indexer.settings import IndexerSettings
from indexer.sources.discovery import Discovery
from indexer.store.milvus import MilvusStore

_LATE_S = 20.0  # a board answers in milliseconds


@dataclass(frozen=True, slots=True)
class Measurement:
    """All figures of one measurement.

    Attributes:
        cpus: Cores that this process may use.
        actors: Embedding actors.
        full: The first run.
        alone: The embedder alone, with the threads of the actors on one node.
        second: Runs over documents of which none had changed.
        changed: Runs over documents of which one had changed.
        ratios: What they come to.
    """

    cpus: int
    actors: int
    full: FullRun
    alone: Alone
    second: tuple[ShortRun, ...]
    changed: tuple[ShortRun, ...]
    ratios: Ratios


def measure(
    found: Discovery,
    *,
    settings: IndexerSettings,
    documents: int | None = None,
    repeats: int = 3,
    tell: Callable[[str], None] = lambda _: None,
) -> Measurement:
    """Measure runs over a copy of files, in the initialised Ray.

    Args:
        found: The files; those in buckets cannot be taken.
        settings: Where and how.
        documents: Take so many files, at even distances; None takes all.
        repeats: Runs without a change, and as many with one.
        tell: Hears what is measured now.

    Raises:
        InputError: A file in a bucket, or no file of these gives a chunk.
        UnavailableError: Ray is not initialised, or Milvus or the embedder cannot be reached.
        GraftworkError: Ray stopped a run.
    """
    files = spread(found.files, documents)
    store = open_store(settings)
    with tempfile.TemporaryDirectory(prefix="graftwork-bench-") as folder, own_collection(store, settings) as name:
        tell(f"copying {len(files)} files")
        copies = copy_to(Path(folder) / "documents", files)
        runs = _Runs(Path(folder) / "documents", collection=name, settings=settings)
        tell(f"indexing {len(files)} files")
        report, batches = runs.run()
        if not batches:
            raise InputError(f"The {len(files)} files give no chunk to embed; give files with text.")
        pool = embedder_pool(settings)
        threads = threads_per_actor(settings, per_node=pool.per_node) * pool.per_node
        tell(f"encoding the same {report.chunks.embedded} chunks with the embedder alone")
        alone = embed_alone(
            pool.actor_settings(settings), [batch.texts for batch in batches], threads=threads, gpus=pool.gpus
        )
        tell("indexing again without a change")
        second = tuple(_short(*runs.run()) for _ in range(repeats))
        changed: list[ShortRun] = []
        path = changeable(files, copies)
        for number in range(repeats if path is not None else 0):
            assert path is not None
            tell(f"indexing again with one document changed, {path.name}")
            change(path, number=number)
            changed.append(_short(*runs.run()))
    full = FullRun(
        documents=report.documents.new,
        failed=report.documents.failed,
        chunks=report.chunks.written,
        seconds=report.seconds["total"],
        stages=report.seconds,
        span=span_of(batches),
    )
    return Measurement(
        cpus=len(os.sched_getaffinity(0)),
        actors=pool.actors,
        full=full,
        alone=alone,
        second=second,
        changed=tuple(changed),
        ratios=ratios_of(full, alone, second=second, changed=changed),
    )


@contextmanager
def own_collection(store: MilvusStore, settings: IndexerSettings) -> Iterator[str]:
    """Yield the name of a collection that nobody has, and drop what has come to be under it."""
    name = f"graftwork_bench_{secrets.token_hex(4)}"
    try:
        yield name
    finally:
        if store.resolve(name) is not None:
            store.drop_alias(name)
        for made in store.generations(name):
            store.drop_generation(made.physical)
        letters = store.read_letters(name, tenant=settings.default_tenant)
        store.delete_letters(name, [letter.uri for letter in letters], tenant=settings.default_tenant)
        store.close()


@dataclass(frozen=True, slots=True)
class _Runs:
    """What every run of a measurement has in common."""

    folder: Path
    collection: str
    settings: IndexerSettings

    def run(self) -> tuple[IndexReport, list[EmbeddedBatch]]:
        """Index the folder; returns the report, and what the embedding actors did, in order."""
        board: Board[EmbeddedBatch] = Board()
        try:
            report = run_index(
                [self.folder],
                collection=self.collection,
                tenant=self.settings.default_tenant,
                settings=self.settings,
                batches=board,
            )
            return report, sorted(_told(board, chunks=report.chunks.embedded), key=lambda batch: batch.began)
        finally:
            board.close()


def _told(board: Board[EmbeddedBatch], *, chunks: int) -> list[EmbeddedBatch]:
    """Return what the actors told; the last of it may come a moment after the run.

    Raises:
        UnavailableError: Some of it is lost.
    """
    deadline = time.monotonic() + _LATE_S
    told = board.take()
    while sum(len(batch.texts) for batch in told) < chunks:
        if time.monotonic() > deadline:
            raise UnavailableError(f"Not all of {chunks} embedded chunks were told in {_LATE_S:g} s; measure again.")
        time.sleep(0.05)
        told += board.take()
    return told


def _short(report: IndexReport, batches: Sequence[EmbeddedBatch]) -> ShortRun:
    span = span_of(batches)
    return ShortRun(
        seconds=report.seconds["total"],
        documents=report.documents.new + report.documents.changed,
        embedded=span.chunks,
        written=report.chunks.written,
        models=span.models,
    )
