from __future__ import annotations

import asyncio

import pytest

from serve.unattended import Unattended


async def test_what_was_started_ends_whoever_is_cancelled() -> None:
    unattended, done = Unattended(), asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.01)
        done.set()

    async def wait() -> None:
        await asyncio.shield(unattended.start(work()))

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert (len(unattended), done.is_set()) == (1, False)
    async with asyncio.timeout(1):
        await done.wait()
    await asyncio.sleep(0)
    assert len(unattended) == 0


async def test_what_it_dies_of_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("broken")

    unattended = Unattended()
    await asyncio.wait({unattended.start(fail())})
    await asyncio.sleep(0)
    assert "broken" in caplog.text
    assert len(unattended) == 0
