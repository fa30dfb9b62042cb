"""The routing decision: a pure function from what is known of the replicas to one of them, and why.

Requests for one adapter stay together, for a load costs more than a queue that is a little longer, but never at the
price of balance: a replica with more than `BOUND` times the mean load gets nothing more (Mirrokni, Thorup,
Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018; c = 1.25 is theirs in practice, too). Where no adapter is
asked for, a session or the beginning of a prompt takes the adapter's part, for the sake of the engine's prefix cache.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# A replica's load over the mean, above which it gets nothing more.
BOUND = 1.25
# An adapter with this many times the share of traffic that one replica should have is kept on two, and so on.
SPREAD_SHARE = 0.5
# Requests above the mean, at once and lately, that are chance and not a lack of balance.
ENOUGH_QUEUED, ENOUGH_RECENT = 4, 10

Why = Literal["hit", "home", "spread", "spill", "session", "prefix", "balance"]


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """What a router knows of one replica.

    Attributes:
        name: Its id, the same at every router.
        models: Model names that it answers without loading an adapter.
        queue: Requests that it is likely to have.
        recent: Requests sent to it lately by this router, older ones counting less.
        capacity: Requests that it takes, waiting ones included, before it refuses some.
        ready: Whether it has all that it should have.
    """

    name: str
    models: frozenset[str] = frozenset()
    queue: float = 0.0
    recent: float = 0.0
    capacity: float = math.inf
    ready: bool = True


@dataclass(frozen=True, slots=True)
class Wish:
    """What a router knows of one request.

    Attributes:
        model: The model name where an adapter may answer for it; None for the base, and where it is not known.
        session: What the client's requests have in common.
        prefix: A hash of the prompt's beginning.
        share: The model's part of the traffic lately, from 0 to 1.
    """

    model: str | None = None
    session: str | None = None
    prefix: str | None = None
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a request goes.

    Attributes:
        replica: Its name.
        why: 'hit': it has the adapter; 'home': nobody has, and it is the one to have it; 'spread': one more is to have
            a hot adapter; 'spill': those who have it, or should, have too much to do; 'session' and 'prefix': where
            the like went before; 'balance': the least to do.
    """

    replica: str
    why: Why


def choose(replicas: Sequence[ReplicaView], wish: Wish) -> Choice:
    """Choose a replica.

    Args:
        replicas: All there are, at least one. Those that are not ready are left out where one is.
        wish: The request.
    """
    ready = [replica for replica in replicas if replica.ready] or list(replicas)
    roomy = with_room(ready)
    if wish.model is not None:
        return _by_adapter(ready, roomy, wish, wish.model)
    key = wish.session or wish.prefix
    if key is None:
        return Choice(_least(roomy, key="").name, "balance")
    ranked = rank(ready, key)
    first = next(replica for replica in ranked if replica in roomy)
    if first is not ranked[0]:
        return Choice(first.name, "spill")
    return Choice(first.name, "session" if wish.session else "prefix")


def with_room(replicas: Sequence[ReplicaView]) -> list[ReplicaView]:
    """The replicas that one more request leaves within the bound, by what they have to do and by what they got lately.

    What they got is exact, and the bounds that several routers keep, each for what it sent itself, add up to the same
    bound. An engine that is slower than the others shows in its queue. A few requests
    more than the mean are let be: to keep idle replicas even costs loads and gains nothing.
    """
    open_ones = [replica for replica in replicas if replica.queue < replica.capacity] or list(replicas)
    recent = _limit([replica.recent for replica in replicas], least=ENOUGH_RECENT)
    queue = _limit([replica.queue for replica in replicas], least=ENOUGH_QUEUED)
    short = [replica for replica in open_ones if replica.queue + 1 <= queue]
    both = [replica for replica in short if replica.recent + 1 <= recent]
    return both or short or [_least(open_ones, key="")]


def rank(replicas: Sequence[ReplicaView], key: str) -> list[ReplicaView]:
    """The replicas in the order in which a key prefers them; one that comes or goes moves no key between others.

    Rendezvous hashing (Thaler and Ravishankar, 1998): consistent hashing without a ring.
    """
    return sorted(replicas, key=lambda replica: _score(key, replica.name), reverse=True)


def copies(share: float, replicas: int) -> int:
    """How many replicas are to have an adapter with such a share of the traffic."""
    return max(1, min(replicas, math.ceil(share * replicas / SPREAD_SHARE - 1e-9)))


def _by_adapter(ready: Sequence[ReplicaView], roomy: Sequence[ReplicaView], wish: Wish, model: str) -> Choice:
    having = [replica for replica in ready if model in replica.models]
    ranked = rank(ready, model)
    if having and len(having) < copies(wish.share, len(ready)):
        more = next((replica for replica in ranked if replica in roomy and replica not in having), None)
        if more is not None:
            return Choice(more.name, "spread")
    hits = [replica for replica in having if replica in roomy]
    if hits:
        chosen = rank(hits, wish.session)[0] if wish.session else _least(hits, key=model)
        return Choice(chosen.name, "hit")
    first = next(replica for replica in ranked if replica in roomy)
    return Choice(first.name, "home" if not having and first is ranked[0] else "spill")


def _least(replicas: Sequence[ReplicaView], *, key: str) -> ReplicaView:
    queued = 1 + sum(replica.queue for replica in replicas) / len(replicas)
    sent = 1 + sum(replica.recent for replica in replicas) / len(replicas)
    return min(
        replicas,
        key=lambda replica: (replica.queue / queued + replica.recent / sent, -_score(key, replica.name)),
    )


def _limit(loads: Sequence[float], *, least: float) -> float:
    """The most that one of them may have once one more request is there."""
    mean = (sum(loads) + 1) / len(loads)
    return max(BOUND * mean, mean + least)


def _score(key: str, name: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{key}\0{name}".encode(), digest_size=8).digest(), "big")
