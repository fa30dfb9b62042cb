"""Stops asking a server that does not answer, and asks again after a while by one call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from indexer.errors import UnavailableError


class Breaker:
    """A circuit breaker: closed, open for a while after some failures in a row, then tried by one call at a time.

    Safe under threads.
    """

    def __init__(self, name: str, *, failures: int, open_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start closed.

        Args:
            name: What is asked, for the message.
            failures: Failures in a row that open it.
            open_s: Seconds until the next try.
            clock: Monotonic time in seconds.
        """
        self._name = name
        self._failures = failures
        self._open_s = open_s
        self._clock = clock
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._try_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether calls are refused but for a try now and then."""
        return self._in_a_row >= self._failures

    def enter(self) -> None:
        """Let a call through.

        Raises:
            UnavailableError: The breaker is open, and another call tries already or it is too early.
        """
        with self._lock:
            if not self.is_open:
                return
            now = self._clock()
            if now < self._try_at:
                raise UnavailableError(
                    f"{self._name} did not answer {self._in_a_row} times in a row; it is asked again in "
                    f"{self._try_at - now:.1f} s."
                )
            self._try_at = now + self._open_s

    def leave(self, *, failed: bool) -> None:
        """Say how a call that was let through has ended."""
        with self._lock:
            self._in_a_row = self._in_a_row + 1 if failed else 0
            if self.is_open:
                self._try_at = self._clock() + self._open_s
