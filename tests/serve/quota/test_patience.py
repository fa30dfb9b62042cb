from __future__ import annotations

import asyncio
import time

import pytest

from serve.quota.patience import patience


async def test_it_ends() -> None:
    since = time.monotonic()
    with pytest.raises(TimeoutError):
        async with patience(0.1):
            await asyncio.sleep(10)
    assert 0.09 < time.monotonic() - since < 5


async def test_what_is_done_in_time_is_left_alone() -> None:
    async with patience(0.05):
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)


async def test_a_loop_that_is_late_does_not_use_it_up() -> None:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[None] = loop.create_future()
    loop.call_later(0.01, time.sleep, 0.3)
    loop.call_later(0.15, answer.set_result, None)
    async with patience(0.2):
        await answer


async def test_a_cancellation_from_outside_stays_one() -> None:
    async def wait() -> None:
        async with patience(10):
            await asyncio.sleep(10)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
