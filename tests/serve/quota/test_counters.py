from __future__ import annotations

import asyncio
import time

import pytest

from serve.quota.counters import AwayError, RefusedError, SharedCounters
from tests.serve.quota.conftest import RedisServer, slow_way


async def test_a_loop_that_is_late_does_not_make_redis_look_away(
    shared: SharedCounters, redis_server: RedisServer
) -> None:
    counters = SharedCounters(redis_server.uri, timeout_s=0.1)
    await asyncio.gather(*(counters.get("warm") for _ in range(40)))
    asking = [asyncio.create_task(counters.add("late", 1, lasts_s=9)) for _ in range(40)]
    asyncio.get_running_loop().call_soon(time.sleep, 0.3)  # as soon as they have asked
    await asyncio.gather(*asking)
    assert await counters.get("late") == 40
    await counters.close()


async def test_waiting_for_others_is_no_reason_to_give_up(shared: SharedCounters, redis_server: RedisServer) -> None:
    async with slow_way(redis_server, delay_s=0.05) as way:
        counters = SharedCounters(way.uri, timeout_s=0.4)
        since = time.monotonic()
        await asyncio.gather(*(counters.add("many", 1, lasts_s=9) for _ in range(400)))
        assert time.monotonic() - since > 0.4
        assert await counters.get("many") == 400
        await counters.close()


async def test_all_who_wait_for_a_redis_that_hangs_give_up_together(redis_server: RedisServer) -> None:
    async with slow_way(redis_server, delay_s=60) as way:
        counters = SharedCounters(way.uri, timeout_s=0.2)
        since = time.monotonic()
        found = await asyncio.gather(*(counters.get("hangs") for _ in range(400)), return_exceptions=True)
        assert time.monotonic() - since < 10  # one after another they would take 80 s
        assert {type(each) for each in found} == {AwayError}
        await counters.close()


async def test_what_redis_refuses_is_told_from_a_redis_that_is_away(shared: SharedCounters) -> None:
    for _ in range(2):
        with pytest.raises(RefusedError, match="out of range"):
            await shared.add("full", 10**30, lasts_s=9)
    assert await shared.add("full", 1, lasts_s=9) == 1


async def test_a_correction_is_made_once_under_its_mark_and_forgotten_with_the_rest(
    shared: SharedCounters, redis_server: RedisServer
) -> None:
    await shared.add("corrected", 50, lasts_s=9)
    for _ in range(3):
        await shared.correct("corrected", -43, mark="once", lasts_s=9)
    await shared.correct("corrected", -1, mark="another", lasts_s=9)
    assert await shared.get("corrected") == 6
    await shared.correct("was-forgotten", -4, mark="late", lasts_s=9)
    with redis_server.client as client:
        names = [*client.scan_iter("*corrected*"), *client.scan_iter("*was-forgotten*")]
        assert len(names) == 5
        assert all(0 < client.ttl(name) <= 9 for name in names)
