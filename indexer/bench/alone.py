"""The embedder by itself, in a worker of its own: what a run of the indexer is held against."""

from __future__ import annotations

import time
from collections.abc import Sequence

import ray

from indexer.bench.figures import Alone
from indexer.run.ray_data import translated_ray_errors
from indexer.settings import IndexerSettings


def embed_alone(settings: IndexerSettings, batches: Sequence[Sequence[str]], *, threads: int, gpus: float) -> Alone:
    """Load the embedder in a new actor of Ray and encode batches one after another.

    A worker of Ray like the embedding actors, because Ray gives its workers a priority and variables of their own.

    Args:
        settings: Those of an embedding actor.
        batches: What to encode.
        threads: Torch threads.
        gpus: Ray GPUs that it reserves.

    Raises:
        UnavailableError: The model is not there.
        GraftworkError: Ray stopped it.
    """
    with translated_ray_errors():
        actor = ray.remote(num_cpus=0, num_gpus=gpus)(_Alone).remote()
        try:
            found: Alone = ray.get(actor.embed.remote(settings, batches, threads))
        finally:
            ray.kill(actor)
    return found


class _Alone:
    """The actor."""

    def embed(self, settings: IndexerSettings, batches: Sequence[Sequence[str]], threads: int) -> Alone:
        began = time.perf_counter()
        from indexer.embedding.embedder import open_embedder

        embedder = open_embedder(settings, threads=threads)
        loaded = time.perf_counter()
        for batch in batches:
            embedder.encode_documents(batch)
        return Alone(threads=threads, load_s=loaded - began, encode_s=time.perf_counter() - loaded)
