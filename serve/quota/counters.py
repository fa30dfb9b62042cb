"""Where counts are kept: in this process, or in a Redis that all replicas share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from limits.aio.storage import MemoryStorage, RedisStorage
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from serve.quota.patience import patience

# Removes leases that have run out, then takes one if there is room: 1 where it was taken.
_HOLD = """
redis.call('zremrangebyscore', KEYS[1], '-inf', ARGV[1])
if redis.call('zcard', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('zadd', KEYS[1], ARGV[2], ARGV[4])
redis.call('pexpireat', KEYS[1], math.ceil(tonumber(ARGV[2]) * 1000))
return 1
"""
# Adds to a number once: the mark says that it is done. What a call that nobody heard the end of did is not done again.
_CORRECT = """
if not redis.call('set', KEYS[2], 1, 'NX', 'EX', ARGV[2]) then return 0 end
redis.call('incrby', KEYS[1], ARGV[1])
if redis.call('ttl', KEYS[1]) < 0 then redis.call('expire', KEYS[1], ARGV[2]) end
return 1
"""
# Calls under way at once: redis-py opens a connection for each, and refuses at a hundred.
_AT_ONCE = 32


class CountingError(Exception):
    """A count could not be read or changed."""


class AwayError(CountingError):
    """The Redis did not answer, or not in time; what was asked may have been done all the same."""


class RefusedError(CountingError):
    """The Redis is there, and said no to what was asked of it; nothing was done."""


class Counters(Protocol):
    """Numbers and leases by name. Everything forgets itself after a while; a process that dies leaves nothing."""

    async def add(self, name: str, amount: int, *, lasts_s: int) -> int:
        """Add to a number, which is 0 where it was not there, and return it; raises CountingError."""

    async def correct(self, name: str, amount: int, *, mark: str, lasts_s: int) -> None:
        """Add to a number, once under a mark however often it is asked; raises CountingError."""

    async def get(self, name: str) -> int:
        """A number; raises CountingError."""

    async def hold(self, name: str, member: str, *, limit: int, lasts_s: float) -> bool:
        """Take one of so many leases; False where all are taken; raises CountingError."""

    async def renew(self, name: str, member: str, *, lasts_s: float) -> None:
        """Make a lease last from now; raises CountingError."""

    async def release(self, name: str, member: str) -> None:
        """Give a lease back; raises CountingError."""


class LocalCounters:
    """Counts of this process alone."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing.

        Args:
            clock: Seconds, for leases.
        """
        self._numbers = MemoryStorage()
        self._clock = clock
        self._leases: dict[str, dict[str, float]] = {}

    async def add(self, name: str, amount: int, *, lasts_s: int) -> int:
        """Add to a number, which is 0 where it was not there, and return it."""
        return await self._numbers.incr(name, lasts_s, amount)

    async def correct(self, name: str, amount: int, *, mark: str, lasts_s: int) -> None:  # noqa: ARG002  never twice
        """Add to a number; nothing fails here, so nobody asks twice and the mark is not looked at."""
        await self.add(name, amount, lasts_s=lasts_s)

    async def get(self, name: str) -> int:
        """A number."""
        return await self._numbers.get(name)

    async def hold(self, name: str, member: str, *, limit: int, lasts_s: float) -> bool:
        """Take one of so many leases; False where all are taken."""
        now = self._clock()
        leases = {each: until for each, until in self._leases.get(name, {}).items() if until > now}
        if len(leases) >= limit:
            return False
        self._leases[name] = leases | {member: now + lasts_s}
        return True

    async def renew(self, name: str, member: str, *, lasts_s: float) -> None:
        """Make a lease last from now."""
        self._leases.setdefault(name, {})[member] = self._clock() + lasts_s

    async def release(self, name: str, member: str) -> None:
        """Give a lease back."""
        leases = self._leases.get(name, {})
        leases.pop(member, None)
        if not leases:
            self._leases.pop(name, None)


class SharedCounters:
    """Counts of all replicas, in one Redis.

    Time counts in which a call is under way, and of that only time in which this process's event loop ran: neither a
    loop that is late nor others that wait for Redis make it look away.
    """

    def __init__(self, uri: str, *, timeout_s: float, clock: Callable[[], float] = time.time) -> None:
        """Take an address; nothing is asked yet.

        Args:
            uri: The Redis, as redis://host:6379/0.
            timeout_s: Seconds after which a call that is under way is given up.
            clock: Unix time in seconds, for leases; replicas' clocks may differ by less than a lease lasts.
        """
        # What fails is not tried again: requests wait for it, and the caller has another way. redis-py's own time-outs
        # go by the clock, and a loop that was late for a moment would be over them with the answer already there.
        self._client: Redis = Redis.from_url(
            uri, socket_timeout=None, socket_connect_timeout=None, retry=Retry(NoBackoff(), 0)
        )
        pool: Any = self._client.connection_pool  # which has the address; `limits` types its options as plain values
        self._numbers = RedisStorage("async+redis://", implementation="redispy", connection_pool=pool)
        self._hold = self._client.register_script(_HOLD)
        self._correct = self._client.register_script(_CORRECT)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._failures = 0
        self._timeout_s = timeout_s
        self._clock = clock

    async def add(self, name: str, amount: int, *, lasts_s: int) -> int:
        """Add to a number, which is 0 where it was not there, and return it; raises CountingError."""
        async with self._asking():
            return int(await self._numbers.incr(name, lasts_s, amount))

    async def correct(self, name: str, amount: int, *, mark: str, lasts_s: int) -> None:
        """Add to a number, once under a mark however often it is asked; raises CountingError."""
        keys = [self._numbers.bridge.prefixed_key(name), f"graftwork-corrected/{mark}"]
        async with self._asking():
            await self._correct(keys=keys, args=[amount, lasts_s])

    async def get(self, name: str) -> int:
        """A number; raises CountingError."""
        async with self._asking():
            return int(await self._numbers.get(name))

    async def hold(self, name: str, member: str, *, limit: int, lasts_s: float) -> bool:
        """Take one of so many leases; False where all are taken; raises CountingError."""
        now = self._clock()
        async with self._asking():
            return bool(await self._hold(keys=[name], args=[now, now + lasts_s, limit, member]))

    async def renew(self, name: str, member: str, *, lasts_s: float) -> None:
        """Make a lease last from now; raises CountingError."""
        until = self._clock() + lasts_s
        async with self._asking():
            await self._client.zadd(name, {member: until})
            await self._client.pexpireat(name, int(until * 1000) + 1)

    async def release(self, name: str, member: str) -> None:
        """Give a lease back; raises CountingError."""
        async with self._asking():
            await self._client.zrem(name, member)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        failures = self._failures
        async with self._turns:
            if self._failures != failures:
                raise AwayError("it went while this call waited for its turn")
            try:
                async with patience(self._timeout_s):
                    yield
            except ResponseError as error:
                raise RefusedError(str(error)) from error
            except (RedisError, OSError, TimeoutError) as error:
                self._failures += 1
                raise AwayError(type(error).__name__) from error
