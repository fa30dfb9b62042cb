"""Takes a request's share of its key's limits, all of it or nothing, and settles it when the request has ended."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from indexer.errors import InputError, UnavailableError
from serve.principal import Principal
from serve.quota.counters import AwayError, Counters, CountingError, LocalCounters, RefusedError, SharedCounters
from serve.quota.held import KEPT_S, LEASE_S, Held, LimitName, Taken, give_back
from serve.quota.settings import QuotaSettings
from serve.quota.window import instant_of, seconds_until_free, used, whole_seconds
from serve.unattended import Unattended

logger = logging.getLogger("graftwork.serve")

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
            on_away: Called for every request that they could not count.
            clock: Unix time in seconds.
        """
        self._shared = shared
        self._local = LocalCounters()
        self._when_away = when_away
        self._retry_s = retry_s
        self._on_away = on_away
        self._clock = clock
        self._away_until = 0.0
        self._refusal = ""
        self._unattended = Unattended()

    async def acquire(self, principal: Principal, *, tokens: int, stream: bool) -> Held | None:
        """Take a request's share; who is cancelled meanwhile has taken nothing in the end.

        Args:
            principal: Whose limits.
            tokens: Tokens to reserve.
            stream: Whether it takes one of the streams.

        Returns:
            What to settle; None where the key has no limits.

        Raises:
            QuotaExceededError: A limit is reached.
            InputError: The request alone is over the limit of tokens.
            UnavailableError: The shared counts cannot be had, and requests are refused then.
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
                held = await self._attempt(self._shared, principal, tokens=tokens, stream=stream)
            except AwayError as error:
                if self._clock() >= self._away_until:
                    logger.warning("the Redis of serve.quota.storage is away (%s); %s", error, self._consequence())
                self._away_until = self._clock() + self._retry_s
            except RefusedError as error:  # of this request alone: others go on to be counted there
                if str(error) != self._refusal:
                    logger.error("the Redis of serve.quota.storage does not count (%s); %s", error, self._consequence())
                self._refusal = str(error)
            else:
                self._away_until, self._refusal = 0.0, ""
                return held
        if self._shared is not None:
            self._on_away()
            if self._when_away == "refuse":
                raise UnavailableError("The limits of keys cannot be counted now; try again.")
        return await self._attempt(self._local, principal, tokens=tokens, stream=stream)

    def _consequence(self) -> str:
        return "requests are refused" if self._when_away == "refuse" else "this replica counts alone"

    async def _attempt(self, counters: Counters, principal: Principal, *, tokens: int, stream: bool) -> Held:
        work = self._unattended.start(_outcome(self._take(counters, principal, tokens=tokens, stream=stream)))
        try:
            outcome = await asyncio.shield(work)
        except asyncio.CancelledError:
            self._unattended.start(_give_up(work))
            raise
        if isinstance(outcome, Held):
            return outcome
        raise outcome

    async def _take(self, counters: Counters, principal: Principal, *, tokens: int, stream: bool) -> Held:
        limits, key, now = principal.limits, principal.key_id, instant_of(self._clock())
        taken: dict[LimitName, Taken] = {}
        lease: tuple[str, str] | None = None
        try:
            if stream and limits.streams is not None:
                lease = (f"graftwork/{key}/streams", uuid.uuid4().hex)
                if not await counters.hold(*lease, limit=limits.streams, lasts_s=LEASE_S):
                    lease = None
                    raise QuotaExceededError("streams", allowed=limits.streams, retry_after_s=_STREAM_RETRY_S)
            wanted: tuple[tuple[LimitName, int, int | None], ...] = (
                ("requests", 1, limits.requests_per_minute),
                ("tokens", tokens, limits.tokens_per_minute),
            )
            for limit, amount, allowed in wanted:
                if allowed is not None:
                    each = Taken(f"graftwork/{key}/{limit}", now, amount)
                    await _reserve(counters, each, limit=limit, allowed=allowed, into=taken)
        except BaseException as error:
            back = {each.name: -each.amount for each in taken.values()}
            undoing = self._unattended.start(give_back(counters, back, lease, unattended=self._unattended))
            if isinstance(error, QuotaExceededError):
                await undoing
            raise
        return Held(counters, taken=taken, lease=lease, unattended=self._unattended)


async def _outcome(taking: Coroutine[Any, Any, Held]) -> Held | QuotaExceededError | CountingError:
    """What becomes of a try to take a share, as a value: nobody may be there to catch it."""
    try:
        return await taking
    except (QuotaExceededError, CountingError) as error:
        return error


async def _give_up(work: asyncio.Task[Held | QuotaExceededError | CountingError]) -> None:
    outcome = await work
    if isinstance(outcome, Held):
        await outcome.give_up()


async def _reserve(
    counters: Counters, wanted: Taken, *, limit: LimitName, allowed: int, into: dict[LimitName, Taken]
) -> None:
    """Add an amount and look whether it fits; what was added stands in `into`, whatever happens then."""
    current, previous = await asyncio.gather(
        counters.add(wanted.name, wanted.amount, lasts_s=KEPT_S),
        counters.get(wanted.name_before),
        return_exceptions=True,
    )
    if isinstance(current, BaseException):
        raise current
    into[limit] = wanted
    if isinstance(previous, BaseException):
        raise previous
    into_s, before = wanted.at.into_s, current - wanted.amount
    if used(previous, current, into_s=into_s) > allowed:
        wait_s = seconds_until_free(previous, before, amount=wanted.amount, limit=allowed, into_s=into_s)
        raise QuotaExceededError(limit, allowed=allowed, retry_after_s=whole_seconds(wait_s))


def open_quota(settings: QuotaSettings, *, on_away: Callable[[], None] = lambda: None) -> Quota:
    """The limits that the settings name; nothing is asked of a Redis yet.

    Args:
        settings: Where to count.
        on_away: Called for every request that the Redis could not count.
    """
    shared: Counters | None = None
    if settings.storage is not None:
        shared = SharedCounters(settings.storage.get_secret_value(), timeout_s=settings.timeout_s)
    return Quota(shared=shared, when_away=settings.when_away, retry_s=settings.retry_s, on_away=on_away)
