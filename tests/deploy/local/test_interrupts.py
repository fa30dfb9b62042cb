from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

import pytest

from deploy.local.interrupts import ending_signals_raise, remembered_interrupt, uninterrupted

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CODES = {signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(autouse=True)
def outside() -> Iterator[list[int]]:
    """What reaches the handlers that were there before; also keeps a stray signal from ending the test run."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    before = {number: signal.signal(number, note) for number in NUMBERS}
    yield seen
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.001)  # The handler runs between two instructions of the main thread.


@pytest.mark.parametrize("number", CODES)
def test_ending_signals_raise_and_come_through_again_afterwards(number: signal.Signals, outside: list[int]) -> None:
    with pytest.raises(SystemExit) as raised, ending_signals_raise():
        send(number)
    assert raised.value.code == CODES[number]
    assert outside == []
    send(number)
    assert outside == [number]


@pytest.mark.parametrize("number", CODES)
def test_what_was_ignored_stays_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    with ending_signals_raise():
        send(number)
    assert signal.getsignal(number) == signal.SIG_IGN


@pytest.mark.parametrize("number", NUMBERS)
def test_nothing_inside_a_clean_up_lets_a_signal_through(number: signal.Signals, outside: list[int]) -> None:
    with uninterrupted():
        with ending_signals_raise():
            send(number)
        with uninterrupted() as interruptible:
            with interruptible():
                send(number)
            send(number)
        send(number)
    assert outside == []
    send(number)
    assert outside == [number]


@pytest.mark.parametrize("number", NUMBERS)
def test_the_first_signal_cuts_the_interruptible_part_short_and_the_second_does_nothing(
    number: signal.Signals, outside: list[int]
) -> None:
    reached: list[str] = []

    def drain_and_clean_up() -> None:
        with uninterrupted() as interruptible:
            try:
                with interruptible():
                    try:
                        send(number)
                        reached.append("after the first")
                    finally:
                        send(number)
                        reached.append("after the second")
            finally:
                send(number)
                reached.append("clean-up")

    with pytest.raises((KeyboardInterrupt, SystemExit)) as raised:
        drain_and_clean_up()
    assert reached == ["after the second", "clean-up"]
    assert outside == []
    if number == signal.SIGINT:
        assert raised.type is KeyboardInterrupt
    else:
        assert isinstance(raised.value, SystemExit)
        assert raised.value.code == CODES[number]


def test_a_signal_at_any_instant_ends_in_the_clean_up() -> None:
    over = threading.Event()

    def fire() -> None:
        while not over.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.0001)

    thread = threading.Thread(target=fire)
    thread.start()
    entered = interrupted = cleaned = 0
    until = time.monotonic() + 0.5
    try:
        while time.monotonic() < until:
            entered += 1
            with uninterrupted() as interruptible:
                try:
                    with interruptible():
                        time.sleep(0.0002)
                except KeyboardInterrupt:
                    interrupted += 1
                cleaned += 1
    finally:
        over.set()
        thread.join()
    assert interrupted > 10
    assert cleaned == entered


def test_other_threads_change_no_handlers() -> None:
    before = [signal.getsignal(number) for number in NUMBERS]
    seen = []

    def work() -> None:
        with ending_signals_raise(), uninterrupted() as interruptible, interruptible():
            seen.append([signal.getsignal(number) for number in NUMBERS])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


class InterruptedWhenDropped:
    """Is interrupted in its destructor, where Python drops the exception."""

    def __del__(self) -> None:
        send(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_drops_is_not_lost(outside: list[int]) -> None:
    woken = threading.Event()
    with remembered_interrupt(woken.set) as check:
        check()
        InterruptedWhenDropped()
        assert woken.is_set()
        with pytest.raises(KeyboardInterrupt):
            check()
    send(signal.SIGINT)
    assert outside == [signal.SIGINT]


def test_any_other_interrupt_comes_at_once(outside: list[int]) -> None:
    with pytest.raises(KeyboardInterrupt), remembered_interrupt(lambda: None):
        send(signal.SIGINT)
    assert outside == []
