"""A limit on how long one document may keep a worker."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Should a library have caught the first, it is told again.
_AGAIN_S = 1.0


class TimeIsUp(BaseException):
    """The block lasted longer than it may."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeIsUp` in the block once it has lasted so long.

    By SIGALRM, which Python hears in a process's main thread, where Ray runs tasks, between two of its own
    instructions: in another thread nothing is limited, and a C function that never returns goes on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _raise)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _raise(*_: object) -> None:
    raise TimeIsUp
