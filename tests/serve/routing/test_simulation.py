"""Affinity and balance of many requests: real routers' views over replicas that are simulated, minutes in a moment."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

import pytest

from serve.routing.choose import ReplicaView, choose, rank
from serve.routing.published import Published, read_stats
from serve.routing.view import RouterView

ADAPTERS = 100
REQUEST_S, LOAD_S = 0.4, 0.2
PERIOD_S, DELAY_S = 1.0, 0.2
WORKERS = 16


@dataclass
class SimulatedReplica:
    """Works on `WORKERS` requests at once, keeps `places` adapters, tells of itself now and then."""

    places: int
    resident: OrderedDict[str, None] = field(default_factory=OrderedDict)
    queue: int = 0
    free_at: list[float] = field(default_factory=lambda: [0.0] * WORKERS)
    beat: int = 0
    served: int = 0
    hits: int = 0
    busy_s: float = 0.0

    def serve(self, model: str, now: float, speed: float) -> float:
        self.served += 1
        self.queue += 1
        hit = model in self.resident
        self.hits += hit
        self.resident[model] = None
        self.resident.move_to_end(model)
        if len(self.resident) > self.places:
            self.resident.popitem(last=False)
        begins = max(now, heapq.heappop(self.free_at))
        ends = begins + (REQUEST_S if hit else REQUEST_S + LOAD_S) * speed
        heapq.heappush(self.free_at, ends)
        self.busy_s += ends - now
        return ends

    def tell(self) -> Published:
        self.beat += 1
        told = Published(beat=self.beat, models=frozenset(self.resident), queue=self.queue, capacity=512)
        news = read_stats(told.as_stats())
        assert news is not None
        return news


@dataclass(frozen=True)
class Outcome:
    hit_rate: float
    most_served: float
    most_busy: float
    reasons: Counter[str]


def simulate(
    *,
    replicas: int,
    routers: int,
    places: int,
    seconds: float = 240,
    use: float = 0.6,
    names: tuple[str, ...] = tuple(f"a{number}" for number in range(ADAPTERS)),
    skew: float = 1.0,
) -> Outcome:
    """Requests at random moments for adapters by Zipf's law; shares are of the mean, the first minute left out."""
    chance = random.Random(replicas * 10 + routers)
    now = 0.0
    machines = {f"r{number}": SimulatedReplica(places) for number in range(replicas)}
    views = [RouterView(clock=lambda: now) for _ in range(routers)]
    news: dict[str, Published | None] = dict.fromkeys(machines)
    weights = list(itertools.accumulate(place**-skew for place in range(1, len(names) + 1)))
    rate = use * replicas * WORKERS / REQUEST_S
    counter = itertools.count()
    events: list[tuple[float, int, str, object]] = [(0.0, next(counter), "request", None)]
    events += [(PERIOD_S * n / replicas, next(counter), "tell", name) for n, name in enumerate(machines)]
    reasons: Counter[str] = Counter()
    settled = False
    while events:
        now, _, kind, subject = heapq.heappop(events)
        if now > seconds:
            break
        if not settled and now > 60:
            settled = True
            for machine in machines.values():
                machine.served, machine.hits, machine.busy_s = 0, 0, 0.0
        if kind == "request":
            model = chance.choices(names, cum_weights=weights)[0]
            view = chance.choice(views)
            view.see(news)
            wish = view.wish(model=model, session=None, prefix=None)
            choice = choose(view.replicas(), wish)
            view.sent(wish, choice)
            reasons[choice.why] += 1
            ends = machines[choice.replica].serve(model, now, chance.uniform(0.5, 1.5))
            heapq.heappush(events, (ends, next(counter), "end", choice.replica))
            heapq.heappush(events, (now + chance.expovariate(rate), next(counter), "request", None))
        elif kind == "tell":
            told = machines[str(subject)].tell()
            heapq.heappush(events, (now + DELAY_S, next(counter), "hear", (subject, told)))
            heapq.heappush(events, (now + PERIOD_S, next(counter), "tell", subject))
        elif kind == "hear":
            name, told = subject  # type: ignore[misc]
            news = {**news, name: told}
        else:
            machines[str(subject)].queue -= 1
    served = [machine.served for machine in machines.values()]
    busy = [machine.busy_s for machine in machines.values()]
    return Outcome(
        hit_rate=sum(machine.hits for machine in machines.values()) / sum(served),
        most_served=max(served) * replicas / sum(served),
        most_busy=max(busy) * replicas / sum(busy),
        reasons=reasons,
    )


@pytest.mark.parametrize("routers", [1, 2])
@pytest.mark.parametrize(("replicas", "places"), [(2, 64), (4, 40)])
@pytest.mark.parametrize("use", [0.1, 0.6])
def test_adapters_stay_where_they_are_and_no_replica_has_much_more_than_the_mean(
    replicas: int, routers: int, places: int, use: float
) -> None:
    outcome = simulate(replicas=replicas, routers=routers, places=places, use=use, seconds=120 if use > 0.5 else 360)
    assert outcome.hit_rate >= 0.9
    assert outcome.most_served <= 1.25
    assert outcome.most_busy <= 1.25


@pytest.mark.parametrize("routers", [1, 2])
@pytest.mark.parametrize("use", [0.2, 0.8])
def test_adapters_that_all_have_the_same_home_do_not_overload_it(routers: int, use: float) -> None:
    """Ten of even traffic, each too small to be spread as a hot one: the bound alone moves some."""
    both = [ReplicaView("r0"), ReplicaView("r1")]
    names = tuple(name for name in (f"a{number}" for number in range(100)) if rank(both, name)[0].name == "r0")[:10]
    outcome = simulate(replicas=2, routers=routers, places=64, use=use, seconds=180, names=names, skew=0.0)
    assert outcome.hit_rate >= 0.9
    assert outcome.most_served <= 1.25
    assert outcome.most_busy <= 1.25
