"""Answers what many tasks ask in batches, which fill by themselves: whoever comes while one is worked on waits for it.

There is no time that a batch waits to be filled. Who comes alone is answered at once; the more there is to do, the
longer a batch takes and the more come meanwhile for the next one.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Batches(Generic[Asked, Answer]):
    """Takes what the tasks of one event loop ask, and answers it in a thread, one batch after the other."""

    def __init__(self, answer: Callable[[Sequence[Asked]], Sequence[Answer]], *, size: int) -> None:
        """Start nothing yet.

        Args:
            answer: Gives an answer for each that is asked, in their order; called in a thread.
            size: What is answered together at most.
        """
        self._answer = answer
        self._size = size
        self._waiting: deque[tuple[Asked, asyncio.Future[Answer]]] = deque()
        self._working: asyncio.Task[None] | None = None

    async def ask(self, asked: Asked) -> Answer:
        """The answer; where this is cancelled before its batch has begun, nobody works on it.

        Raises:
            Exception: What `answer` raised for the batch.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if self._working is None or self._working.done():
            # In a context of its own: a batch belongs to all who asked, not to the one that came first.
            self._working = asyncio.create_task(self._work(), context=contextvars.Context())
        return await future

    async def _work(self) -> None:
        while batch := self._next():
            try:
                answers = await asyncio.to_thread(self._answer, [asked for asked, _ in batch])
                given = list(zip(batch, answers, strict=True))
            except Exception as error:  # noqa: BLE001  it is raised where it was asked
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), answer in given:
                if not future.done():
                    future.set_result(answer)

    def _next(self) -> list[tuple[Asked, asyncio.Future[Answer]]]:
        batch: list[tuple[Asked, asyncio.Future[Answer]]] = []
        while self._waiting and len(batch) < self._size:
            asked, future = self._waiting.popleft()
            if not future.done():
                batch.append((asked, future))
        return batch
