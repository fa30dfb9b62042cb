"""Embeds the texts of many requests in small portions, in which requests take turns and of which any can be the last.

A forward pass cannot be interrupted, so no more than a portion's texts are given to the model at once: a request that
is given up costs no further portion, a short one does not wait for a long one's end, and what else asks the embedder,
such as the questions of retrieval, has its turn in between.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexer.embedding.embedder import Embedder
from indexer.errors import InputError
from serve.embeddings import Embedded, EmbeddingRequest, too_long

logger = logging.getLogger("graftwork.serve")

# A third of a second of the embedded default's longest texts on two cores.
PORTION = 16
# Texts whose tokens are counted between two looks at whether anybody still wants them.
_COUNTED = 256


@dataclass(eq=False, slots=True)
class _Job:
    """A request on its way: what is left of it are its texts behind those in `parts`."""

    request: EmbeddingRequest
    done: asyncio.Future[NDArray[np.float32]]
    parts: list[NDArray[np.float32]] = field(default_factory=list)
    taken: int = 0

    @property
    def left(self) -> int:
        return len(self.request.texts) - self.taken


class Portions:
    """Takes requests of any number of tasks of one event loop, and works on one portion at a time in a thread."""

    def __init__(self, embedder: Embedder, *, wait_s: float, size: int = PORTION) -> None:
        """Start nothing yet.

        Args:
            embedder: Makes the vectors.
            wait_s: Seconds that a request which finds nothing going on waits for others to share its portion.
            size: Texts of a portion at most.
        """
        self._embedder = embedder
        self._wait_s = wait_s
        self._size = size
        self._waiting: list[_Job] = []
        self._working: asyncio.Task[None] | None = None

    async def embed(self, request: EmbeddingRequest) -> Embedded:
        """Vectors of a request's texts; where this is cancelled, no further portion has any of them.

        Raises:
            InputError: A text is longer than the embedder reads, or has no usable vector.
        """
        counts: list[int] = []
        for start in range(0, len(request.texts), _COUNTED):
            some = request.texts[start : start + _COUNTED]
            counts += await asyncio.to_thread(self._embedder.tokenizer.counts, some)
        if (error := too_long(counts, limit=self._embedder.max_tokens)) is not None:
            raise error
        job = _Job(request, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        if self._working is None or self._working.done():
            # In a context of its own: the portions belong to all requests, not to the one that came first.
            self._working = asyncio.create_task(self._work(), context=contextvars.Context())
        return Embedded(vectors=await job.done, tokens=sum(counts))

    async def _work(self) -> None:
        await asyncio.sleep(self._wait_s)
        while True:
            self._waiting = [job for job in self._waiting if not job.done.done()]
            if not self._waiting:
                return
            query = self._waiting[0].request.query
            alike = [job for job in self._waiting if job.request.query is query]
            given = shares([job.left for job in alike], size=self._size)
            served = [(job, count) for job, count in zip(alike, given, strict=True) if count]
            await self._embed_portion(served, query=query)
            turned = [job for job, _ in served]
            self._waiting = [*(job for job in self._waiting if job not in turned), *turned]

    async def _embed_portion(self, served: Sequence[tuple[_Job, int]], *, query: bool) -> None:
        """Embed the next texts of some requests together; where that fails, those of each alone."""
        texts = [text for job, count in served for text in job.request.texts[job.taken : job.taken + count]]
        encode = self._embedder.encode_queries if query else self._embedder.encode_documents
        try:
            vectors = await asyncio.to_thread(encode, texts)
        except Exception as error:  # whatever the model raises is the answer of the request that it comes from
            if len(served) > 1:
                for alone in served:
                    await self._embed_portion([alone], query=query)
                return
            if not isinstance(error, InputError):
                logger.exception("texts could not be embedded")
            (job, _) = served[0]
            if not job.done.done():
                job.done.set_exception(error)
            return
        begin = 0
        for job, count in served:
            job.parts.append(vectors[begin : begin + count])
            job.taken += count
            begin += count
            if job.left == 0 and not job.done.done():
                job.done.set_result(np.concatenate(job.parts))


def shares(waiting: Sequence[int], *, size: int) -> list[int]:
    """How many texts of each request go into the next portion: as many of each, while it has some; the first first.

    Args:
        waiting: Texts that each request has left, at least one.
        size: Texts of the portion at most.
    """
    given, left = [0] * len(waiting), size
    while left and (open_ := [place for place, count in enumerate(waiting) if count > given[place]]):
        each = max(1, left // len(open_))
        for place in open_:
            more = min(each, waiting[place] - given[place], left)
            given[place] += more
            left -= more
    return given
