"""What one router knows of the replicas: what they told, and what it has sent them since."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from serve.routing.choose import Choice, ReplicaView, Wish
from serve.routing.published import Published

# Seconds over which what was sent is forgotten, to one part in e.
MEMORY_S = 30.0
# Seconds for which a replica is taken to have an adapter because a request for it was sent there: a load, and the time
# until the replica tells of it.
TRUST_S = 5.0
# Requests lately below which nothing is said of a model's share of them.
_ENOUGH_TRAFFIC = 20.0
# Models whose traffic is remembered at most.
_MOST_MODELS = 4096


@dataclass(slots=True)
class Fading:
    """A count that forgets."""

    value: float = 0.0
    at: float = 0.0

    def now(self, time_s: float) -> float:
        """What is left of it."""
        return self.value * math.exp((self.at - time_s) / MEMORY_S)

    def add(self, time_s: float) -> None:
        """Count one."""
        self.value, self.at = self.now(time_s) + 1.0, time_s


@dataclass(slots=True)
class _Known:
    told: Published | None = None
    since: int = 0
    all_then: int = 0
    recent: Fading = field(default_factory=Fading)
    expected: dict[str, float] = field(default_factory=dict)


class RouterView:
    """Keeps the view up to date; touched on one event loop."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing.

        Args:
            clock: Monotonic time in seconds.
        """
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._traffic: dict[str, Fading] = {}
        self._all = Fading()
        self._sent = 0

    def see(self, told: Mapping[str, Published | None]) -> None:
        """Take in what the replicas say; those not named are gone.

        Args:
            told: The last news of each replica by its name.
        """
        for name in set(self._known) - set(told):
            del self._known[name]
        for name, news in told.items():
            known = self._known.setdefault(name, _Known())
            if news is not None and (known.told is None or news.beat != known.told.beat):
                known.told, known.since, known.all_then = news, 0, self._sent

    def replicas(self) -> list[ReplicaView]:
        """The replicas as they are likely to be now.

        Requests end about as fast as they come, so a replica's queue is taken to be what it told, and what this router
        has sent it since beyond its share: news of different ages compare.
        """
        now = self._clock()
        return [self._view(name, known, now) for name, known in self._known.items()]

    def wish(self, *, model: str | None, session: str | None, prefix: str | None) -> Wish:
        """What is known of a request.

        Args:
            model: The name it asks for, where it is known.
            session: What the client's requests have in common.
            prefix: A hash of its prompt's beginning.
        """
        if model is None or any(known.told is not None and model in known.told.plain for known in self._known.values()):
            return Wish(session=session, prefix=prefix)
        now = self._clock()
        traffic = self._traffic.get(model)
        share = traffic.now(now) / max(_ENOUGH_TRAFFIC, self._all.now(now)) if traffic is not None else 0.0
        return Wish(model=model, session=session, prefix=prefix, share=min(1.0, share))

    def sent(self, wish: Wish, choice: Choice) -> None:
        """Note where a request went."""
        now = self._clock()
        known = self._known[choice.replica]
        known.since += 1
        self._sent += 1
        known.recent.add(now)
        self._all.add(now)
        if wish.model is not None:
            known.expected[wish.model] = now
            self._traffic.setdefault(wish.model, Fading()).add(now)
            if len(self._traffic) > _MOST_MODELS:
                self._forget(self._traffic, now)

    def _view(self, name: str, known: _Known, now: float) -> ReplicaView:
        known.expected = {model: at for model, at in known.expected.items() if now - at < TRUST_S}
        told = known.told or Published(beat=0, capacity=2**31)
        share = (self._sent - known.all_then) / len(self._known)
        return ReplicaView(
            name=name,
            models=told.models.union(known.expected),
            queue=max(0.0, told.queue + known.since - share),
            recent=known.recent.now(now),
            capacity=told.capacity,
            ready=told.ready,
        )

    @staticmethod
    def _forget(traffic: dict[str, Fading], now: float) -> None:
        least: Collection[str] = sorted(traffic, key=lambda model: traffic[model].now(now))[: _MOST_MODELS // 2]
        for model in least:
            del traffic[model]
