"""The passages of the latest questions, for those who ask the same again within seconds.

A run of the indexer writes into the generation that is searched, so that a generation's number alone does not say that
nothing has changed: what is remembered is forgotten after a time, too.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class RememberedResults(Generic[Result]):
    """Keeps a number of results for a number of seconds. Not safe under threads.

    Attributes:
        on: Whether it keeps any.
    """

    def __init__(self, *, size: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with none.

        Args:
            size: Results that are kept, those asked for latest.
            seconds: How long each is kept.
            clock: Monotonic time in seconds.
        """
        self.on = size > 0 and seconds > 0
        self._size = size
        self._seconds = seconds
        self._clock = clock
        self._results: OrderedDict[Hashable, tuple[float, Result]] = OrderedDict()

    def get(self, key: Hashable) -> Result | None:
        """What is remembered; None where nothing is."""
        until, result = self._results.get(key, (0.0, None))
        if result is None or self._clock() >= until:
            self._results.pop(key, None)
            return None
        self._results.move_to_end(key)
        return result

    def put(self, key: Hashable, result: Result) -> None:
        """Remember a result from now on; being asked for does not prolong it."""
        self._results[key] = (self._clock() + self._seconds, result)
        self._results.move_to_end(key)
        while len(self._results) > self._size:
            self._results.popitem(last=False)
