"""The router class in Ray Serve itself, over two replicas of a small paced deployment."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from serve.contact import router_config
from tests.serve.routing.paced import Paced

pytestmark = pytest.mark.slow


@pytest.fixture
def handle(local_ray: None) -> Iterator[object]:
    from ray import serve

    deployment = serve.deployment(
        Paced,
        num_replicas=2,
        max_ongoing_requests=100,
        ray_actor_options={"num_cpus": 0},
        request_router_config={**router_config(), "request_routing_stats_period_s": 0.3},
    )
    serve.start(proxy_location="Disabled")
    try:
        yield serve.run(deployment.bind())
    finally:
        serve.shutdown()


async def test_adapters_stay_on_their_replica_and_both_work(handle: object) -> None:
    chance = random.Random(1)
    weights = [1 / rank for rank in range(1, 41)]
    models = [f"a{number}" for number in chance.choices(range(40), weights=weights, k=600)]
    answers: list[tuple[str, bool]] = []

    async def client(mine: list[str]) -> None:
        for model in mine:
            answers.append(await handle.remote(SimpleNamespace(model=model, messages=[])))  # type: ignore[attr-defined]

    await asyncio.gather(*(client(models[number::8]) for number in range(8)))
    served = Counter(replica for replica, _ in answers)
    assert len(served) == 2
    assert max(served.values()) <= 1.25 * 300
    assert sum(hit for _, hit in answers[100:]) >= 0.9 * 500

    sessions = [
        (await handle.remote(SimpleNamespace(model="base", user=f"u{number % 6}", messages=[])))[0]  # type: ignore[attr-defined]
        for number in range(30)
    ]
    assert all(len(set(sessions[number::6])) == 1 for number in range(6))
    assert len(set(sessions)) == 2
