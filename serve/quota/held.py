"""What a request has taken of its key's limits, until it gives it back."""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from serve.quota.counters import Counters, CountingError
from serve.quota.window import WINDOW_S, Instant
from serve.unattended import Unattended

logger = logging.getLogger("graftwork.serve")

LimitName = Literal["requests", "tokens", "streams"]
# Counts are needed for two minutes; what comes later finds nothing to give back to.
KEPT_S = 2 * WINDOW_S
# A lease outlives its replica by this at most; it is renewed three times within.
LEASE_S = 30.0
# Seconds before the second and further tries to give something back; the last holds for all that follow.
WAITS_S = (0.25, 1.0, 5.0)


@dataclass(frozen=True, slots=True)
class Taken:
    """What is counted: an amount on the number of a minute.

    Attributes:
        prefix: Name of the key's limit.
        at: When it was taken.
        amount: How much.
    """

    prefix: str
    at: Instant
    amount: int

    @property
    def name(self) -> str:
        """Name of the minute's number."""
        return f"{self.prefix}/{self.at.minute}"

    @property
    def name_before(self) -> str:
        """Name of that of the minute before."""
        return f"{self.prefix}/{self.at.minute - 1}"


class Held:
    """A request's share, until it is settled or given up."""

    def __init__(
        self,
        counters: Counters,
        *,
        taken: dict[LimitName, Taken],
        lease: tuple[str, str] | None,
        unattended: Unattended,
    ) -> None:
        """Keep what was taken; a lease is renewed from now on."""
        self._counters = counters
        self._taken = taken
        self._lease = lease
        self._unattended = unattended
        self._ended = asyncio.Event()
        self._renewing = unattended.start(self._renew(*lease)) if lease is not None else None

    async def settle(self, tokens: int) -> None:
        """Count what was really used in place of what was reserved, and give the stream back; once.

        It is done to its end, also where the one who waits for it is cancelled.

        Args:
            tokens: Tokens that the request has cost.
        """
        reserved = self._taken.get("tokens")
        corrections = {} if reserved is None else {reserved.name: tokens - reserved.amount}
        await self._end(corrections)

    async def give_up(self) -> None:
        """Give everything back, as if the request had never been made; once."""
        await self._end({each.name: -each.amount for each in self._taken.values()})

    async def _end(self, corrections: dict[str, int]) -> None:
        if not self._ended.is_set():
            self._ended.set()
            await asyncio.shield(self._unattended.start(self._return(corrections)))

    async def _return(self, corrections: dict[str, int]) -> None:
        if self._renewing is not None:  # a renewal that is under way must not come behind the release
            await asyncio.wait({self._renewing})
        await give_back(self._counters, corrections, self._lease, unattended=self._unattended)

    async def _renew(self, name: str, member: str) -> None:
        while True:
            try:
                async with asyncio.timeout(LEASE_S / 3):
                    await self._ended.wait()
                return
            except TimeoutError:
                pass
            try:
                await self._counters.renew(name, member, lasts_s=LEASE_S)
            except CountingError as error:
                logger.warning("a stream's lease could not be renewed (%s)", error)


async def give_back(
    counters: Counters, corrections: dict[str, int], lease: tuple[str, str] | None, *, unattended: Unattended
) -> None:
    """Give a lease back and add to numbers, each for itself.

    What fails is tried again, with nobody waiting for it, until what was taken is forgotten anyhow.
    """
    steps: list[tuple[Callable[[], Awaitable[None]], float]] = [
        (partial(counters.correct, name, amount, mark=uuid.uuid4().hex, lasts_s=KEPT_S), KEPT_S)
        for name, amount in corrections.items()
        if amount
    ]
    if lease is not None:
        steps.append((partial(counters.release, *lease), LEASE_S))
    for error, (step, kept_s) in zip(await asyncio.gather(*(_failure(step) for step, _ in steps)), steps, strict=True):
        if error is not None:
            logger.warning("a request's share could not be given back (%s); it is tried again", error)
            unattended.start(_insist(step, for_s=kept_s))


async def _failure(step: Callable[[], Awaitable[None]]) -> CountingError | None:
    try:
        await step()
    except CountingError as error:
        return error
    return None


async def _insist(step: Callable[[], Awaitable[None]], *, for_s: float) -> None:
    waits = itertools.chain(WAITS_S, itertools.repeat(WAITS_S[-1]))
    waited = 0.0
    while waited < for_s:
        waited += (wait := next(waits))
        await asyncio.sleep(wait)
        if await _failure(step) is None:
            return
    logger.warning("a request's share could not be given back; it counted as taken until it was forgotten")
