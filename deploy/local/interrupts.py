"""Signals while an instance is started or stopped: one ends the work cleanly, a second cannot break the cleaning up.

What is ignored when a block begins stays ignored in it: SIGHUP under `nohup`, and all three inside `uninterrupted`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)
_ALL = (signal.SIGINT, *_ENDING)
_Handler = Callable[[int, FrameType | None], None] | signal.Handlers


@contextmanager
def ending_signals_raise() -> Iterator[None]:
    """Turns SIGTERM and SIGHUP into SystemExit, so that `finally` and `except` clean up as after Ctrl-C."""
    with _handled(dict.fromkeys(_heeded(_ENDING), _raise_exit)):
        yield


@contextmanager
def uninterrupted() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Holds SIGINT, SIGTERM and SIGHUP back for the length of a clean-up.

    Yields what makes a context for a part that may be cut short: in it the first of these signals raises
    KeyboardInterrupt or SystemExit, and no other follows. Signals that were ignored before raise nowhere.
    """
    heeded = _heeded(_ALL)
    with _handled(dict.fromkeys(heeded, signal.SIG_IGN)):
        yield lambda: _first_raises(heeded)


@contextmanager
def remembered_interrupt(wake: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Lets no Ctrl-C get lost in a block that lasts until one comes.

    Python drops an exception that a signal raises while a destructor or a callback of C code runs, of which Ray and
    gRPC have many ("Exception ignored in"). So SIGINT is noted, besides raising KeyboardInterrupt as ever.

    Args:
        wake: Called at a SIGINT, to end what the block waits for.

    Yields what raises KeyboardInterrupt where a SIGINT came that raised it to no avail.
    """
    came = False

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal came
        came = True
        wake()
        raise KeyboardInterrupt

    def check() -> None:
        if came:
            raise KeyboardInterrupt

    with _handled(dict.fromkeys(_heeded((signal.SIGINT,)), note)):
        yield check


@contextmanager
def _first_raises(numbers: Iterable[int]) -> Iterator[None]:
    open_to_signals = True

    def raise_once(number: int, frame: FrameType | None) -> None:
        nonlocal open_to_signals
        if open_to_signals:
            open_to_signals = False
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            _raise_exit(number, frame)

    with _handled(dict.fromkeys(numbers, raise_once)):
        try:
            yield
        finally:
            open_to_signals = False


@contextmanager
def _handled(handlers: Mapping[int, _Handler]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heeded(numbers: Iterable[int]) -> tuple[int, ...]:
    """Those that are not ignored; none outside the main thread, where handlers cannot be set."""
    if threading.current_thread() is not threading.main_thread():
        return ()
    return tuple(number for number in numbers if signal.getsignal(number) != signal.SIG_IGN)


def _raise_exit(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise SystemExit(128 + number)
