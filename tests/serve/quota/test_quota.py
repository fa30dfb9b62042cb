from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.errors import InputError, UnavailableError
from serve.principal import Limits, Principal
from serve.quota.counters import AwayError, Counters, LocalCounters, SharedCounters
from serve.quota.held import LEASE_S, WAITS_S, Held
from serve.quota.quota import Quota, QuotaExceededError, open_quota
from serve.quota.settings import QuotaSettings
from serve.telemetry.metrics import Definition, Metrics
from tests.serve.quota.conftest import RedisServer, counting_in, slow_way, until

MINUTE = 60.0


@dataclass
class Clock:
    """A time that stands still until it is moved."""

    now: float = 1_000 * MINUTE

    def __call__(self) -> float:
        return self.now


@dataclass
class Replica:
    """One replica's quota."""

    quota: Quota
    met_away: list[int] = field(default_factory=list)


def key(name: str = "k", **limits: int) -> Principal:
    return Principal(tenant="t", key_id=name, limits=Limits(**limits))


def replica(shared: Counters | None, *, clock: Clock, when_away: str = "local") -> Replica:
    made = Replica(quota=Quota(shared=None, when_away="local", retry_s=1.0))
    made.quota = Quota(
        shared=shared,
        when_away=when_away,  # type: ignore[arg-type]
        retry_s=5.0,
        on_away=lambda: made.met_away.append(1),
        clock=clock,
    )
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock(random.Random().randrange(10**6) * MINUTE)  # so that tests on one Redis do not share minutes


@pytest.fixture(params=["local", "shared"])
async def counters(request: pytest.FixtureRequest) -> AsyncIterator[Counters]:
    if request.param == "local":
        yield LocalCounters()
        return
    async with counting_in(request.getfixturevalue("redis_server")) as shared:
        yield shared


async def taken(quota: Quota, principal: Principal, *, tokens: int = 1, stream: bool = False) -> Held:
    held = await quota.acquire(principal, tokens=tokens, stream=stream)
    assert held is not None
    return held


async def refused(quota: Quota, principal: Principal, *, tokens: int = 1, stream: bool = False) -> QuotaExceededError:
    with pytest.raises(QuotaExceededError) as caught:
        await quota.acquire(principal, tokens=tokens, stream=stream)
    return caught.value


async def test_requests_are_counted_over_sixty_seconds(counters: Counters, clock: Clock) -> None:
    quota, ada = replica(counters, clock=clock).quota, key("requests", requests_per_minute=3)
    for _ in range(3):
        await taken(quota, ada)
    error = await refused(quota, ada)
    assert (error.limit, error.allowed) == ("requests", 3)
    clock.now += error.retry_after_s
    await taken(quota, ada)
    await refused(quota, ada)


async def test_what_was_reserved_and_not_used_is_given_back(counters: Counters, clock: Clock) -> None:
    quota, ada = replica(counters, clock=clock).quota, key("tokens", tokens_per_minute=100)
    held = await taken(quota, ada, tokens=90)
    assert (await refused(quota, ada, tokens=20)).limit == "tokens"
    await held.settle(10)
    await held.settle(10)
    rest = await taken(quota, ada, tokens=90)
    await refused(quota, ada, tokens=1)
    await rest.settle(95)
    await refused(quota, ada, tokens=1)


async def test_it_is_given_back_to_the_minute_it_was_taken_from(counters: Counters, clock: Clock) -> None:
    quota, ada = replica(counters, clock=clock).quota, key("minutes", tokens_per_minute=100)
    held = await taken(quota, ada, tokens=100)
    clock.now += MINUTE
    await held.settle(0)
    await taken(quota, ada, tokens=100)
    await refused(quota, ada, tokens=1)


async def test_a_refused_request_takes_nothing(counters: Counters, clock: Clock) -> None:
    quota = replica(counters, clock=clock).quota
    ada = key("nothing", requests_per_minute=2, tokens_per_minute=10, streams=1)
    for _ in range(5):
        held = await taken(quota, ada, tokens=10, stream=True)
        await refused(quota, ada, tokens=10, stream=False)
        await held.settle(0)
        clock.now += 2 * MINUTE
    await taken(quota, ada, tokens=10, stream=True)


async def test_streams_are_counted_while_they_last(counters: Counters, clock: Clock) -> None:
    quota, ada = replica(counters, clock=clock).quota, key("streams", streams=2)
    first, second = await taken(quota, ada, stream=True), await taken(quota, ada, stream=True)
    assert (await refused(quota, ada, stream=True)).limit == "streams"
    await taken(quota, ada, stream=False)
    await first.settle(0)
    third = await taken(quota, ada, stream=True)
    for held in (second, third):
        await held.settle(0)


async def test_a_request_over_the_limit_of_tokens_alone_can_never_pass_and_is_told_so(clock: Clock) -> None:
    with pytest.raises(InputError, match="may cost 11 tokens, but the key 'k' has 10 a minute"):
        await replica(None, clock=clock).quota.acquire(key(tokens_per_minute=10), tokens=11, stream=False)


async def test_a_key_without_limits_and_a_request_without_a_key_cost_nothing(clock: Clock) -> None:
    quota = replica(None, clock=clock).quota
    assert await quota.acquire(key(), tokens=10**9, stream=True) is None
    assert await quota.acquire(Principal(tenant="t"), tokens=10**9, stream=True) is None


async def test_keys_do_not_share_their_limits(counters: Counters, clock: Clock) -> None:
    quota = replica(counters, clock=clock).quota
    await taken(quota, key("one", requests_per_minute=1))
    await taken(quota, key("two", requests_per_minute=1))


async def test_replicas_share_one_redis_and_without_it_count_alone(shared: SharedCounters, clock: Clock) -> None:
    ada = key("both", requests_per_minute=1)
    one, two = (replica(shared, clock=clock).quota for _ in range(2))
    await taken(one, ada)
    await refused(two, ada)
    one, two = (replica(None, clock=clock).quota for _ in range(2))
    await taken(one, ada)
    await taken(two, ada)


async def test_two_hundred_at_once_never_exceed_a_limit(counters: Counters, clock: Clock) -> None:
    one, two = (replica(counters, clock=clock).quota for _ in range(2))
    ada = key("crowd", requests_per_minute=50, tokens_per_minute=400, streams=20)
    held: list[Held] = []

    async def ask(quota: Quota, stream: bool) -> None:
        with suppress(QuotaExceededError):
            held.append(await taken(quota, ada, tokens=10, stream=stream))

    await asyncio.gather(*(ask(one if number % 2 else two, number % 3 == 0) for number in range(200)))
    assert 0 < len(held) <= 40
    await asyncio.gather(*(each.settle(0) for each in held))
    leases = [await taken(one, key("crowd", streams=20), stream=True) for _ in range(20)]
    await asyncio.gather(*(each.settle(0) for each in leases))


async def test_requests_that_are_cancelled_at_random_leave_no_stream_taken(
    shared: SharedCounters, redis_server: RedisServer, clock: Clock
) -> None:
    quota, ada, chance = replica(shared, clock=clock).quota, key("leaving", streams=300), random.Random(1)

    async def request() -> None:
        held = await taken(quota, ada, stream=True)
        try:
            await asyncio.sleep(chance.random() / 20)
        finally:
            await asyncio.shield(held.settle(0))

    tasks = [asyncio.create_task(request()) for _ in range(200)]
    for task in tasks:
        await asyncio.sleep(chance.random() / 500)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: not redis_server.taken("leaving")["streams"])


async def test_the_streams_of_a_replica_that_died_come_free(redis_server: RedisServer, shared: SharedCounters) -> None:
    now = Clock(time.time())
    counters = SharedCounters(redis_server.uri, timeout_s=2.0, clock=now)
    assert await counters.hold("dead", "a", limit=1, lasts_s=LEASE_S)
    now.now += LEASE_S / 2
    await counters.renew("dead", "a", lasts_s=LEASE_S)
    now.now += LEASE_S - 1
    assert not await counters.hold("dead", "b", limit=1, lasts_s=LEASE_S)
    now.now += 2
    assert await counters.hold("dead", "b", limit=1, lasts_s=LEASE_S)
    await counters.close()


async def test_whoever_leaves_while_it_is_counted_has_taken_nothing(
    shared: SharedCounters, redis_server: RedisServer, clock: Clock
) -> None:
    keys = [key(f"left-{number}", requests_per_minute=9, tokens_per_minute=99, streams=9) for number in range(30)]
    async with slow_way(redis_server, delay_s=0.02) as way:
        counters = SharedCounters(way.uri, timeout_s=2.0)
        quota = replica(counters, clock=clock).quota
        asking = [asyncio.create_task(taken(quota, ada, tokens=50, stream=True)) for ada in keys]
        for task in asking:
            await asyncio.sleep(0.004)
            task.cancel()
        ended = await asyncio.gather(*asking, return_exceptions=True)
        left = [ada for ada, end in zip(keys, ended, strict=True) if isinstance(end, asyncio.CancelledError)]
        assert len(left) > 5
        await until(lambda: not any(any(redis_server.taken(str(ada.key_id)).values()) for ada in left))
        await asyncio.gather(*(held.settle(0) for held in ended if isinstance(held, Held)))
        await counters.close()


async def test_a_settlement_is_done_to_its_end_whoever_leaves(
    shared: SharedCounters, redis_server: RedisServer, clock: Clock
) -> None:
    quota, ada = replica(shared, clock=clock).quota, key("settled", tokens_per_minute=99, streams=1)
    held = await taken(quota, ada, tokens=50, stream=True)
    settling = asyncio.create_task(held.settle(7))
    await asyncio.sleep(0)
    settling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await settling
    await until(lambda: redis_server.taken("settled") == {"requests": 0, "tokens": 7, "streams": 0})


async def test_what_cannot_be_given_back_at_once_is_given_back_later_and_once(
    shared: SharedCounters, redis_server: RedisServer, clock: Clock
) -> None:
    ada = key("later", tokens_per_minute=99, streams=1)
    async with slow_way(redis_server, delay_s=0.0) as way:
        counters = SharedCounters(way.uri, timeout_s=0.2)
        held = await taken(replica(counters, clock=clock).quota, ada, tokens=50, stream=True)
        way.delay_s = 0.6  # Redis does what it is told, and nobody hears of it in time
        await held.settle(7)
        way.delay_s = 0.0
        await until(lambda: redis_server.taken("later")["tokens"] == 7)
        await asyncio.sleep(WAITS_S[0] + WAITS_S[1] + 1.0)
        assert redis_server.taken("later") == {"requests": 0, "tokens": 7, "streams": 0}
        await counters.close()


class KeepsLeases(LocalCounters):
    """Counts that get a lease back at the third try."""

    tries = 0

    async def release(self, name: str, member: str) -> None:
        self.tries += 1
        if self.tries < 3:
            raise AwayError("gone")
        await super().release(name, member)


async def test_tokens_are_settled_also_where_the_stream_cannot_be_given_back_at_once(clock: Clock) -> None:
    counters = KeepsLeases()
    quota, ada = replica(counters, clock=clock).quota, key(tokens_per_minute=99, streams=1)
    await (await taken(quota, ada, tokens=50, stream=True)).settle(7)
    assert await counters.get(f"graftwork/k/tokens/{int(clock.now // MINUTE)}") == 7
    assert (await refused(quota, ada, stream=True)).limit == "streams"
    await until(lambda: counters.tries == 3)
    await taken(quota, ada, stream=True)


@pytest.mark.parametrize("when_away", ["local", "refuse"])
async def test_what_redis_refuses_to_count_concerns_no_other_key(
    when_away: str, shared: SharedCounters, redis_server: RedisServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    one = replica(shared, clock=clock, when_away=when_away)
    ada, ben = key(f"refused-{when_away}", streams=9), key(f"other-{when_away}", requests_per_minute=9)
    with redis_server.client as client:
        client.set(f"graftwork/{ada.key_id}/streams", "no set of leases")
    for _ in range(3):
        if when_away == "refuse":
            with pytest.raises(UnavailableError, match="cannot be counted now"):
                await one.quota.acquire(ada, tokens=1, stream=True)
        else:
            await (await taken(one.quota, ada, stream=True)).settle(0)
        await taken(one.quota, ben)
    assert len(one.met_away) == 3
    assert redis_server.taken(str(ben.key_id))["requests"] == 3
    assert "is away" not in caplog.text
    assert "does not count (WRONGTYPE" in caplog.text


@pytest.mark.parametrize("when_away", ["local", "refuse"])
async def test_a_redis_that_goes_and_comes_back(
    when_away: str, redis_server: RedisServer, shared: SharedCounters, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    one = replica(shared, clock=clock, when_away=when_away)
    ada = key(f"away-{when_away}", requests_per_minute=1)
    await taken(one.quota, ada)
    redis_server.stop()
    try:
        for expected in range(1, 4):
            if when_away == "refuse":
                with pytest.raises(UnavailableError, match="cannot be counted now"):
                    await one.quota.acquire(ada, tokens=1, stream=False)
            elif expected == 1:
                await taken(one.quota, ada)
            else:
                await refused(one.quota, ada)
            assert len(one.met_away) == expected
        assert len([record for record in caplog.records if "is away" in record.message]) == 1
    finally:
        redis_server.start()
    came_back = False
    async with asyncio.timeout(10):
        while not came_back:
            clock.now += 5.0
            before = len(one.met_away)
            with suppress(UnavailableError):
                await taken(one.quota, key(f"back-{when_away}", requests_per_minute=1_000))
                came_back = len(one.met_away) == before
            await asyncio.sleep(0.05)
    assert await shared.get(f"graftwork/back-{when_away}/requests/{int(clock.now // MINUTE)}") == 1


@pytest.mark.parametrize("when_away", ["local", "refuse"])
async def test_the_metric_counts_requests_that_met_redis_away(when_away: str) -> None:
    values: list[tuple[str, float]] = []

    def record(metric: Definition, value: float, labels: dict[str, str]) -> None:
        values.append((metric.name, value))

    metrics = Metrics(record, max_label_values=9)
    limits = QuotaSettings.model_validate({"storage": "redis://127.0.0.1:1/0", "when_away": when_away})
    quota = open_quota(limits, on_away=metrics.count_quota_away)
    assert await quota.acquire(key(), tokens=1, stream=False) is None
    for _ in range(2):
        with suppress(UnavailableError):
            await quota.acquire(key(requests_per_minute=9), tokens=1, stream=False)
    assert values == [("graftwork_quota_away_total", 1)] * 2


async def test_an_address_where_nothing_is_costs_the_first_request_only(clock: Clock) -> None:
    nowhere = SharedCounters("redis://127.0.0.1:1/0", timeout_s=0.25)
    one = replica(nowhere, clock=clock)
    async with asyncio.timeout(1):
        for _ in range(100):
            await taken(one.quota, key("nowhere", requests_per_minute=100))
    assert len(one.met_away) == 100


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 80), st.floats(0, 20)), max_size=25))
def test_when_all_is_settled_exactly_what_was_used_counts(steps: list[tuple[int, int, float]]) -> None:
    async def run() -> None:
        clock, counters = Clock(), LocalCounters()
        quota, ada = replica(counters, clock=clock).quota, key(tokens_per_minute=100)
        spent: dict[int, int] = {}
        for reserved, cost, pause_s in steps:
            try:
                held = await taken(quota, ada, tokens=reserved)
            except QuotaExceededError:
                continue
            minute = int(clock.now // MINUTE)
            clock.now += pause_s
            await held.settle(cost)
            spent[minute] = spent.get(minute, 0) + cost
        for minute, cost in spent.items():
            assert await counters.get(f"graftwork/k/tokens/{minute}") == cost

    asyncio.run(run())
