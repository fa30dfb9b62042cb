"""Live counts of a run, kept in one small Ray actor that the workers tell and the driver asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from indexer.report import IndexProgress, Stage

_ASK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums over all workers; a task that Ray repeats is counted twice, so these are for display only."""

    documents: int = 0
    chunks: int = 0
    chunks_written: int = 0
    failed: int = 0
    parse_busy: float = 0.0
    embed_busy: float = 0.0
    write_busy: float = 0.0

    def plus(self, other: Counts) -> Counts:
        """Return the sum."""
        return Counts(
            documents=self.documents + other.documents,
            chunks=self.chunks + other.chunks,
            chunks_written=self.chunks_written + other.chunks_written,
            failed=self.failed + other.failed,
            parse_busy=self.parse_busy + other.parse_busy,
            embed_busy=self.embed_busy + other.embed_busy,
            write_busy=self.write_busy + other.write_busy,
        )


class _Board:
    def __init__(self) -> None:
        self._counts = Counts()

    def add(self, counts: Counts) -> None:
        self._counts = self._counts.plus(counts)

    def read(self) -> Counts:
        return self._counts


class Board:
    """A handle on the counts that can be sent to workers."""

    def __init__(self) -> None:
        """Start the actor; it takes no CPU of the cluster's count."""
        self._actor: Any = ray.remote(num_cpus=0)(_Board).remote()

    def add(self, counts: Counts) -> None:
        """Add to the sums without waiting."""
        self._actor.add.remote(counts)

    def read(self) -> Counts:
        """Return the sums."""
        counts: Counts = ray.get(self._actor.read.remote(), timeout=10)
        return counts

    def close(self) -> None:
        """End the actor."""
        ray.kill(self._actor)


class Reporter:
    """Tells a callback where the run is; calls it from a thread of its own while Ray works."""

    def __init__(self, callback: Callable[[IndexProgress], None] | None) -> None:
        """Keep the callback; None tells nobody."""
        self._callback = callback
        self._began = time.monotonic()

    def tell(self, stage: Stage, *, counts: Counts | None = None, total: int = 0, failed: int = 0) -> None:
        """Call the callback once."""
        if self._callback is None:
            return
        now = counts or Counts()
        self._callback(
            IndexProgress(
                stage=stage,
                documents=now.documents,
                documents_total=total,
                chunks=now.chunks,
                chunks_written=now.chunks_written,
                failed=now.failed + failed,
                seconds=time.monotonic() - self._began,
            )
        )

    @contextmanager
    def following(self, board: Board, *, total: int, failed: int) -> Iterator[None]:
        """Call the callback with the board's counts every half second until the block ends."""
        stop = threading.Event()

        def follow() -> None:
            while not stop.wait(_ASK_EVERY_S):
                try:
                    counts = board.read()
                except ray.exceptions.RayError:  # the run itself reports what is wrong with the cluster
                    return
                self.tell("index", counts=counts, total=total, failed=failed)

        thread = threading.Thread(target=follow, name="index-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)
