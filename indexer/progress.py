"""How far a run has come: counts that the workers tell, and the callback that hears of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from indexer.board import Board
from indexer.run.report import IndexProgress, Stage

_ASK_EVERY_S = 0.5
_SETTLED_S = 3.0
_LAST_ASK_S = 10.0  # longer than a look at the board may take


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


@dataclass(frozen=True, slots=True)
class EmbeddedBatch:
    """What an embedding actor did at one call, for those who measure it.

    Attributes:
        texts: What was embedded.
        began: When it had texts and its model, in seconds since the epoch; nodes agree as well as their clocks do.
        load_s: Seconds that the actor's load of the model took, told with its first call; 0 with the others.
        ended: When the call ended.
    """

    texts: tuple[str, ...]
    began: float
    load_s: float
    ended: float


class LiveCounts:
    """The driver's sum of what the workers told.

    Attributes:
        counts: The sum so far.
    """

    def __init__(self, board: Board[Counts]) -> None:
        """Begin at zero."""
        self._board = board
        self.counts = Counts()

    @property
    def lost(self) -> bool:
        """Whether no more will be told, because the board is gone."""
        return self._board.lost

    @property
    def whole(self) -> bool:
        """Whether the sum holds all that was told up to the last update."""
        return not (self._board.lost or self._board.late)

    def update(self) -> Counts:
        """Add what was told since, and return the sum."""
        for told in self._board.take():
            self.counts = self.counts.plus(told)
        return self.counts


def pace(first: tuple[float, int], now: tuple[float, int]) -> float | None:
    """Return the chunks per second between two moments, each a time in seconds and a count; None if they are near.

    The first moment is when chunks had arrived: the start of workers and the load of the model do not come again.
    """
    seconds = now[0] - first[0]
    return (now[1] - first[1]) / seconds if seconds >= _SETTLED_S else None


def seconds_left(counts: Counts, *, total: int, chunks_per_s: float | None) -> float | None:
    """Return how long the rest takes at a pace, or None if that cannot be told.

    Args:
        counts: So far.
        total: Documents to parse.
        chunks_per_s: The pace.
    """
    parsed = counts.documents + counts.failed
    if not chunks_per_s or not parsed:
        return None
    expected = counts.chunks * max(1.0, total / parsed)
    return max(0.0, expected - counts.chunks_written) / chunks_per_s


class Reporter:
    """Tells a callback where the run is; calls it from a thread of its own while Ray works."""

    def __init__(self, callback: Callable[[IndexProgress], None] | None) -> None:
        """Keep the callback; None tells nobody."""
        self._callback = callback
        self._last: IndexProgress | None = None
        self._began = time.monotonic()

    def tell(
        self,
        stage: Stage,
        *,
        counts: Counts | None = None,
        total: int = 0,
        failed: int = 0,
        chunks_per_s: float | None = None,
    ) -> None:
        """Call the callback once."""
        if self._callback is None:
            return
        now = counts or Counts()
        self._last = IndexProgress(
            stage=stage,
            documents=now.documents,
            documents_total=total,
            chunks=now.chunks,
            chunks_written=now.chunks_written,
            failed=now.failed + failed,
            seconds=time.monotonic() - self._began,
            chunks_per_s=chunks_per_s,
            seconds_left=seconds_left(now, total=total, chunks_per_s=chunks_per_s),
        )
        self._callback(self._last)

    def advance(self, documents: int, *, total: int) -> None:
        """Call the callback with what it heard last, but for the documents that the stage has done, and the time."""
        if self._callback is None or self._last is None:
            return
        seconds = time.monotonic() - self._began
        self._last = replace(self._last, documents=documents, documents_total=total, seconds=seconds)
        self._callback(self._last)

    @contextmanager
    def following(self, live: LiveCounts, *, total: int, failed: int) -> Iterator[None]:
        """Call the callback with the live counts every half second until the block ends or the counts are lost."""
        stop = threading.Event()

        def follow() -> None:
            first: tuple[float, int] | None = None
            while not stop.wait(_ASK_EVERY_S):
                counts, now = live.update(), time.monotonic()
                if live.lost:
                    return
                if first is None and counts.chunks_written:
                    first = now, counts.chunks_written
                rate = None if first is None else pace(first, (now, counts.chunks_written))
                self.tell("index", counts=counts, total=total, failed=failed, chunks_per_s=rate)

        thread = threading.Thread(target=follow, name="index-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=_LAST_ASK_S)
