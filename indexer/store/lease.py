"""Who may write: what a claim on a collection says, and who holds it when several do. Plain functions without I/O.

Milvus has no compare-and-swap. What it has is enough: a write that was acknowledged is seen by every later read at
Strong consistency. So everyone writes a claim first and reads all claims second, and holds the collection only if that
read shows no other live claim. Of two who overlap, at least one has read after the other wrote, so never both hold.
Where both see each other, the order of the claims decides who withdraws and who looks again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

LEASE_S = 60.0  # a lease lasts this long after its last renewal
RENEW_S = 20.0  # two renewals may fail before it is lost
SKEW_S = 15.0  # how far the clocks of two machines may be apart; a lease is taken over only this much after its end

Step = Literal["held", "look again", "withdraw"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One process's claim on a collection.

    Attributes:
        key: The claim's own name.
        collection: Alias.
        tenant: Whose rows are written; empty for all of the collection.
        number: Greater than that of every claim seen before; tells a successor from a holder who came back too late.
        host: Name of the machine.
        machine: Tells two machines, or two containers, of one name apart.
        pid: The process there.
        started: When the process started, in clock ticks after the machine did: pids are used again.
        user: Who runs it.
        since: When it was made, Unix time in seconds.
        expires: When it ends unless it is renewed, Unix time in seconds.
    """

    key: str
    collection: str
    tenant: str
    number: int
    host: str
    machine: str
    pid: int
    started: int
    user: str
    since: float
    expires: float

    @property
    def order(self) -> tuple[int, float, str]:
        """Of claims that were made at the same time, the lowest goes first."""
        return self.number, self.since, self.key

    def describe(self) -> str:
        """Say who holds it, since when, and when another may take it."""
        what = f"tenant {self.tenant!r} of collection {self.collection!r}" if self.tenant else f"{self.collection!r}"
        return (
            f"process {self.pid} of {self.user} on {self.host} is writing {what} since {_clock(self.since)}; "
            f"its lease ends at {_clock(self.expires + SKEW_S)} unless it is renewed"
        )


def next_number(claims: Iterable[Claim]) -> int:
    """Return the number of a new claim."""
    return 1 + max((claim.number for claim in claims), default=0)


def rivals(mine: Claim, claims: Iterable[Claim], *, now: float, gone: Callable[[Claim], bool]) -> list[Claim]:
    """Return the live claims of others on the same rows, the first in order first.

    Args:
        mine: The claim that asks; it need not be among the claims.
        claims: All claims on the collection.
        now: Unix time in seconds.
        gone: Tells that a claim's process is known to have ended.
    """
    found = [
        claim
        for claim in claims
        if claim.key != mine.key
        and ("" in (claim.tenant, mine.tenant) or claim.tenant == mine.tenant)
        and now <= claim.expires + SKEW_S
        and not gone(claim)
    ]
    return sorted(found, key=lambda claim: claim.order)


def step(mine: Claim, claims: Iterable[Claim], against: list[Claim]) -> Step:
    """Say what follows from a read that came after one's own claim was written.

    Args:
        mine: The claim that asks.
        claims: All that the read showed.
        against: Its rivals among them.
    """
    if mine.key not in {claim.key for claim in claims}:
        return "withdraw"
    if not against:
        return "held"
    return "look again" if mine.order < against[0].order else "withdraw"


def superseded_by(mine: Claim, against: Iterable[Claim]) -> Claim | None:
    """Return the claim that took over from a holder who was away too long, or None."""
    return next((claim for claim in against if claim.number > mine.number), None)


def _clock(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
