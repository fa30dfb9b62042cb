"""Batches that fill by themselves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from serve.batching import Batches


class Doubling:
    """Doubles numbers when it is let; keeps what it was given together."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go = threading.Semaphore(0)

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        assert self.may_go.acquire(timeout=10)
        if 13 in numbers:
            raise ValueError("13 is not doubled")
        return [2 * number for number in numbers]

    def let(self, batches: int) -> None:
        self.may_go.release(batches)

    async def has_begun(self, batches: int) -> None:
        async with asyncio.timeout(10):
            while len(self.batches) < batches:  # noqa: ASYNC110  the list is filled in a thread
                await asyncio.sleep(0.005)


async def test_the_first_goes_at_once_and_those_that_come_meanwhile_go_together() -> None:
    doubling = Doubling()
    batches = Batches(doubling, size=8)
    first = asyncio.create_task(batches.ask(1))
    await doubling.has_begun(1)
    others = [asyncio.create_task(batches.ask(number)) for number in (2, 3, 4)]
    await asyncio.sleep(0)
    doubling.let(2)
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8]
    assert doubling.batches == [[1], [2, 3, 4]]


async def test_those_of_one_moment_go_together() -> None:
    doubling = Doubling()
    doubling.let(1)
    batches = Batches(doubling, size=8)
    assert await asyncio.gather(*(batches.ask(number) for number in (1, 2, 3))) == [2, 4, 6]
    assert doubling.batches == [[1, 2, 3]]


async def test_no_batch_is_larger_than_its_size() -> None:
    doubling = Doubling()
    doubling.let(3)
    batches = Batches(doubling, size=2)
    assert await asyncio.gather(*(batches.ask(number) for number in range(5))) == [0, 2, 4, 6, 8]
    assert doubling.batches == [[0, 1], [2, 3], [4]]


async def test_nobody_works_on_what_was_given_up_before_its_batch() -> None:
    doubling = Doubling()
    batches = Batches(doubling, size=8)
    first = asyncio.create_task(batches.ask(1))
    await doubling.has_begun(1)
    given_up, kept = asyncio.create_task(batches.ask(2)), asyncio.create_task(batches.ask(3))
    await asyncio.sleep(0)
    given_up.cancel()
    doubling.let(2)
    assert await asyncio.gather(first, kept) == [2, 6]
    assert doubling.batches == [[1], [3]]


async def test_one_that_is_given_up_in_its_batch_leaves_the_others_their_answers() -> None:
    doubling = Doubling()
    batches = Batches(doubling, size=8)
    given_up, kept = asyncio.create_task(batches.ask(1)), asyncio.create_task(batches.ask(2))
    await doubling.has_begun(1)
    given_up.cancel()
    doubling.let(1)
    assert await kept == 4
    assert doubling.batches == [[1, 2]]


async def test_an_error_is_raised_where_it_was_asked_and_the_next_batch_goes_on() -> None:
    doubling = Doubling()
    doubling.let(2)
    batches = Batches(doubling, size=8)
    failed = await asyncio.gather(batches.ask(13), batches.ask(1), return_exceptions=True)
    assert [str(error) for error in failed] == ["13 is not doubled"] * 2
    assert await batches.ask(4) == 8


async def test_answers_that_do_not_fit_are_an_error() -> None:
    def answer_less(numbers: Sequence[int]) -> list[int]:
        return list(numbers)[1:]

    with pytest.raises(ValueError, match="shorter"):
        await Batches(answer_less, size=2).ask(1)
