from __future__ import annotations

import asyncio
import random

import pytest

from serve.admission.gate import LATEST_S, SOONEST_S, CrowdedError, Gate, retry_after_s


async def hold(gate: Gate, tenant: str, release: asyncio.Event) -> str:
    async with gate.place(tenant):
        await release.wait()
    return tenant


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_so_many_run_so_many_wait_and_the_rest_is_turned_away() -> None:
    gate, release = Gate(running=2, waiting=1), asyncio.Event()
    tasks = [asyncio.create_task(hold(gate, "a", release)) for _ in range(3)]
    await settle()
    assert (gate.running, gate.waiting) == (2, 1)
    with pytest.raises(CrowdedError) as caught:
        await hold(gate, "a", release)
    assert caught.value.retry_after_s == SOONEST_S
    release.set()
    assert await asyncio.gather(*tasks) == ["a"] * 3
    assert (gate.running, gate.waiting) == (0, 0)


async def test_a_place_that_becomes_free_goes_to_the_tenant_whose_turn_it_is() -> None:
    gate, order = Gate(running=1, waiting=9), []

    async def request(name: str) -> None:
        async with gate.place(name[0]):
            order.append(name)
            await asyncio.sleep(0)

    await asyncio.gather(*(request(name) for name in ("a1", "a2", "a3", "b1")))
    assert order == ["a1", "a2", "b1", "a3"]


async def test_whoever_fills_the_queue_gives_way_to_others() -> None:
    gate, release = Gate(running=1, waiting=2), asyncio.Event()
    tasks = [asyncio.create_task(hold(gate, "a", release)) for _ in range(3)]
    await settle()
    other = asyncio.create_task(hold(gate, "b", release))
    await settle()
    with pytest.raises(CrowdedError):
        await tasks[2]
    release.set()
    assert await asyncio.gather(*tasks[:2], other) == ["a", "a", "b"]


async def test_nobody_waits_where_nothing_may() -> None:
    gate, release = Gate(running=1, waiting=0), asyncio.Event()
    first = asyncio.create_task(hold(gate, "a", release))
    await settle()
    with pytest.raises(CrowdedError):
        await hold(gate, "b", release)
    release.set()
    await first


async def test_two_hundred_that_are_cancelled_at_random_leave_no_place_taken() -> None:
    gate, chance = Gate(running=3, waiting=50), random.Random(1)

    async def request(tenant: str) -> None:
        async with gate.place(tenant):
            await asyncio.sleep(chance.random() / 200)

    async def leaves(tenant: str) -> None:
        task = asyncio.create_task(request(tenant))
        await asyncio.sleep(chance.random() / 50)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    await asyncio.gather(*(leaves(chance.choice("abc")) for _ in range(200)))
    assert (gate.running, gate.waiting) == (0, 0)
    async with asyncio.timeout(1):
        await request("a")


async def test_a_newcomer_that_takes_the_place_of_one_that_just_left_waits_like_any_other() -> None:
    gate, release = Gate(running=1, waiting=2), asyncio.Event()
    tasks = [asyncio.create_task(hold(gate, "a", release)) for _ in range(3)]
    await settle()
    newcomer = asyncio.create_task(hold(gate, "b", release))
    tasks[2].cancel()  # the newcomer comes first, while the turn that was given up is still in the queue
    await settle()
    assert tasks[2].cancelled()
    assert (gate.running, gate.waiting) == (1, 2)
    release.set()
    assert await asyncio.gather(*tasks[:2], newcomer) == ["a", "a", "b"]
    assert (gate.running, gate.waiting) == (0, 0)


async def test_a_request_that_fails_gives_its_place_back() -> None:
    gate = Gate(running=1, waiting=0)
    with pytest.raises(ValueError, match="broken"):
        async with gate.place("a"):
            raise ValueError("broken")
    assert gate.running == 0


@pytest.mark.parametrize(
    ("ahead", "ended", "now", "seconds"),
    [
        (5, (), 100.0, SOONEST_S),
        (4, (90.0, 95.0), 100.0, 20),
        (1, (99.9, 99.95), 100.0, SOONEST_S),
        (500, (0.0,), 100.0, LATEST_S),
    ],
)
def test_the_time_to_wait_follows_the_pace_at_which_requests_end(
    ahead: int, ended: tuple[float, ...], now: float, seconds: int
) -> None:
    assert retry_after_s(ahead=ahead, ended=ended, now=now) == seconds
