"""Work that nobody waits for any more, and that must be done all the same."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

logger = logging.getLogger("graftwork.serve")

Result = TypeVar("Result")


class Unattended:
    """Runs tasks to their end whoever is cancelled meanwhile: the loop itself keeps none that nobody refers to."""

    def __init__(self) -> None:
        """Start with nothing under way."""
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """Tasks under way."""
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        """Run some work; who waits for it does so behind a shield. What it dies of is logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s failed", task.get_coro(), exc_info=error)
