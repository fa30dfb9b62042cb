"""What all steps of a run share."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from indexer.board import Board
from indexer.embedding.files import EmbedderFiles
from indexer.progress import EmbeddedBatch, Reporter
from indexer.run.stages import Recipe
from indexer.settings import IndexerSettings
from indexer.store.holding import Lease
from indexer.store.milvus import MilvusStore
from indexer.types import FailedDocument


@dataclass(frozen=True, slots=True)
class RunContext:
    """A run that holds its lease.

    Attributes:
        collection: Alias.
        settings: Where and how.
        store: Where to.
        embedder: Files of the model.
        recipe: What the workers need to know, for the run's own tenant.
        lease: Checked before anything is deleted and before readers are let in.
        reporter: Who hears how far the run is.
        batches: Where the embedding actors tell of their calls, or None.
        seconds: Time per stage.
        failures: Documents that failed so far, by tenant: kept as dead letters also where the run ends by an error.
    """

    collection: str
    settings: IndexerSettings
    store: MilvusStore
    embedder: EmbedderFiles
    recipe: Recipe
    lease: Lease
    reporter: Reporter
    batches: Board[EmbeddedBatch] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    failures: dict[str, list[FailedDocument]] = field(default_factory=dict)

    @property
    def tenant(self) -> str:
        """Whose documents the run's paths hold."""
        return self.recipe.tenant

    def failed(self, failures: Iterable[FailedDocument], *, tenant: str) -> None:
        """Take note of documents of a tenant that failed."""
        self.failures.setdefault(tenant, []).extend(failures)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        with timed(self.seconds, stage):
            yield


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the time of the block to a stage."""
    began = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - began
