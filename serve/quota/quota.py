"""Takes a request's share of its key's limits, all of it or nothing, and settles it when the request has ended."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from indexer.errors import InputError, UnavailableError
from serve.principal import Principal
from serve.quota.counters import AwayError, Counters, LocalCounters, SharedCounters
from serve.quota.settings import QuotaSettings
from serve.quota.window import WINDOW_S, Instant, instant_of, seconds_until_free, used, whole_seconds

logger = logging.getLogger("graftwork.serve")

LimitName = Literal["requests", "tokens", "streams"]
# Counts are needed for two minutes; what comes later finds nothing to give back to.
_KEPT_S = 2 * WINDOW_S
# A lease outlives its replica by this at most; it is renewed three times within.
LEASE_S = 30.0
_STREAM_RETRY_S = 1


class QuotaExceededError(Exception):
    """A limit of the key is reached.

    Attributes:
        limit: Which one.
        allowed: Its value.
        retry_after_s: Whole seconds after which it is worth another try.
    """

    def __init__(self, limit: LimitName, *, allowed: int, retry_after_s: int) -> None:
        """Keep which limit it is."""
        super().__init__(f"{limit}: {allowed}")
        self.limit: LimitName = limit
        self.allowed = allowed
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class _Taken:
    """What was counted: `amount` on the number `name`."""

    name: str
    amount: int


class Held:
    """A request's share, until it is settled."""

    def __init__(self, counters: Counters, *, tokens: _Taken | None, lease: tuple[str, str] | None) -> None:
        """Keep what was taken; a lease is renewed from now on."""
        self._counters = counters
        self._tokens = tokens
        self._lease = lease
        self._renewing = asyncio.create_task(self._renew()) if lease is not None else None

    async def settle(self, tokens: int) -> None:
        """Count what was really used in place of what was reserved, and give the stream back; once.

        Args:
            tokens: Tokens that the request has cost.
        """
        taken, self._tokens = self._tokens, None
        lease, self._lease = self._lease, None
        if self._renewing is not None:
            self._renewing.cancel()
        try:
            if lease is not None:
                await self._counters.release(*lease)
            if taken is not None and tokens != taken.amount:
                await self._counters.add(taken.name, tokens - taken.amount, lasts_s=_KEPT_S)
        except AwayError as error:
            logger.warning("a request's tokens could not be settled (%s); they count as reserved", error)

    async def _renew(self) -> None:
        while self._lease is not None:
            await asyncio.sleep(LEASE_S / 3)
            try:
                await self._counters.renew(*self._lease, lasts_s=LEASE_S)
            except AwayError as error:
                logger.warning("a stream's lease could not be renewed (%s)", error)


class Quota:
    """Limits of keys; all of a request's are checked, and nothing stays taken of one that is refused.

    Reserving adds first and looks then, so that no limit is ever exceeded; of two requests that come in the same
    instant and of which only one has room, both may be refused.
    """

    def __init__(
        self,
        *,
        shared: Counters | None,
        when_away: Literal["local", "refuse"],
        retry_s: float,
        on_away: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep where to count.

        Args:
            shared: Counts of all replicas; None where this one counts alone.
            when_away: What to do while the shared counts cannot be reached.
            retry_s: Seconds between two tries to reach them again.
            on_away: Called for every request that met them away.
            clock: Unix time in seconds.
        """
        self._shared = shared
        self._local = LocalCounters()
        self._when_away = when_away
        self._retry_s = retry_s
        self._on_away = on_away
        self._clock = clock
        self._away_until = 0.0

    async def acquire(self, principal: Principal, *, tokens: int, stream: bool) -> Held | None:
        """Take a request's share.

        Args:
            principal: Whose limits.
            tokens: Tokens to reserve.
            stream: Whether it takes one of the streams.

        Returns:
            What to settle; None where the key has no limits.

        Raises:
            QuotaExceededError: A limit is reached.
            InputError: The request alone is over the limit of tokens.
            UnavailableError: The shared counts are away, and requests are refused then.
        """
        limits = principal.limits
        if principal.key_id is None or limits.is_open:
            return None
        if limits.tokens_per_minute is not None and tokens > limits.tokens_per_minute:
            raise InputError(
                f"The request may cost {tokens} tokens, but the key '{principal.key_id}' has "
                f"{limits.tokens_per_minute} a minute; ask for fewer, or send less."
            )
        if self._shared is not None and self._clock() >= self._away_until:
            try:
                held = await self._take(self._shared, principal, tokens=tokens, stream=stream)
            except AwayError as error:
                if self._clock() >= self._away_until:
                    logger.warning("the Redis of serve.quota.storage is away (%s); %s", error, self._consequence())
                self._away_until = self._clock() + self._retry_s
            else:
                self._away_until = 0.0
                return held
        if self._shared is not None:
            self._on_away()
            if self._when_away == "refuse":
                raise UnavailableError("The limits of keys cannot be counted now; try again.")
        return await self._take(self._local, principal, tokens=tokens, stream=stream)

    def _consequence(self) -> str:
        return "requests are refused" if self._when_away == "refuse" else "this replica counts alone"

    async def _take(self, counters: Counters, principal: Principal, *, tokens: int, stream: bool) -> Held:
        limits, key, now = principal.limits, principal.key_id, instant_of(self._clock())
        taken: dict[LimitName, _Taken] = {}
        lease: tuple[str, str] | None = None
        try:
            if stream and limits.streams is not None:
                name, member = f"graftwork/{key}/streams", uuid.uuid4().hex
                if not await counters.hold(name, member, limit=limits.streams, lasts_s=LEASE_S):
                    raise QuotaExceededError("streams", allowed=limits.streams, retry_after_s=_STREAM_RETRY_S)
                lease = (name, member)
            wanted: tuple[tuple[LimitName, int, int | None], ...] = (
                ("requests", 1, limits.requests_per_minute),
                ("tokens", tokens, limits.tokens_per_minute),
            )
            for limit, amount, allowed in wanted:
                if allowed is not None:
                    prefix = f"graftwork/{key}/{limit}"
                    taken[limit] = await _reserve(counters, prefix, limit=limit, amount=amount, allowed=allowed, at=now)
        except BaseException:
            await asyncio.shield(_undo(counters, tuple(taken.values()), lease))
            raise
        return Held(counters, tokens=taken.get("tokens"), lease=lease)


async def _reserve(
    counters: Counters, prefix: str, *, limit: LimitName, amount: int, allowed: int, at: Instant
) -> _Taken:
    taken = _Taken(f"{prefix}/{at.minute}", amount)
    current, previous = await asyncio.gather(
        counters.add(taken.name, amount, lasts_s=_KEPT_S), counters.get(f"{prefix}/{at.minute - 1}")
    )
    if used(previous, current, into_s=at.into_s) <= allowed:
        return taken
    await _undo(counters, (taken,), None)
    wait_s = seconds_until_free(previous, current - amount, amount=amount, limit=allowed, into_s=at.into_s)
    raise QuotaExceededError(limit, allowed=allowed, retry_after_s=whole_seconds(wait_s))


async def _undo(counters: Counters, taken: tuple[_Taken, ...], lease: tuple[str, str] | None) -> None:
    try:
        if lease is not None:
            await counters.release(*lease)
        for each in taken:
            await counters.add(each.name, -each.amount, lasts_s=_KEPT_S)
    except AwayError as error:
        logger.warning("a refused request's share could not be given back (%s)", error)


def open_quota(settings: QuotaSettings, *, on_away: Callable[[], None] = lambda: None) -> Quota:
    """The limits that the settings name; nothing is asked of a Redis yet.

    Args:
        settings: Where to count.
        on_away: Called for every request that met the Redis away.
    """
    shared: Counters | None = None
    if settings.storage is not None:
        shared = SharedCounters(settings.storage.get_secret_value(), timeout_s=settings.timeout_s)
    return Quota(shared=shared, when_away=settings.when_away, retry_s=settings.retry_s, on_away=on_away)
