from __future__ import annotations

import asyncio
import time

from serve.telemetry.lag import follow_lag


async def test_a_blocked_loop_is_seen() -> None:
    seen: list[float] = []
    task = asyncio.create_task(follow_lag(seen.append, interval_s=0.02))
    await asyncio.sleep(0.05)
    time.sleep(0.2)  # noqa: ASYNC251  # what is measured
    await asyncio.sleep(0.05)
    task.cancel()
    assert max(seen) > 0.1
