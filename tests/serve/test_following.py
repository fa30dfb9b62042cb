from __future__ import annotations

import asyncio
from contextlib import suppress

from indexer.errors import UnavailableError
from serve.following import cause_of, keep_looking


async def looked(*outcomes: Exception | None) -> list[str]:
    """What was told of looks with these outcomes."""
    told: list[str] = []
    left, done = list(outcomes), asyncio.Event()

    async def look() -> None:
        if not left:
            done.set()
            return
        outcome = left.pop(0)
        if outcome is not None:
            raise outcome

    following = asyncio.create_task(keep_looking(look, interval_s=0.001, failed=told.append))
    async with asyncio.timeout(5):
        await done.wait()
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    return told


async def test_nothing_ends_the_looks_and_what_they_fail_of_is_told_once() -> None:
    away, lost = UnavailableError("The registry is away; mount it."), OSError(5, "Input/output error")
    told = await looked(away, away, lost, None, away, RuntimeError("can't start new thread"), None)
    assert told[:3] == [str(away), str(lost), str(away)]
    assert told[3].startswith("RuntimeError, a defect, at\n")
    assert "test_following.py" in told[3]
    assert len(told) == 4


async def test_the_text_of_an_error_nobody_thought_of_is_not_told() -> None:
    (told,) = await looked(ValueError("gw-secret"))
    assert "gw-secret" not in told
    assert "gw-secret" not in cause_of(KeyError("gw-secret"))
