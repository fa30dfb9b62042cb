from __future__ import annotations

import pytest

from serve.principal import Limits, Principal
from tests.serve.layers.conftest import Graph
from tests.serve.layers.test_layers import CHAT, ask
from tests.serve.layers.test_lifetime import leave_after

ADA = {"authorization": "Bearer ada"}


@pytest.fixture
def limited(keyed: Graph) -> Graph:
    limits = Limits(requests_per_minute=20, tokens_per_minute=100, streams=1)
    keyed.principals["ada"] = Principal(tenant="a", key_id="ada", limits=limits)
    return keyed


async def test_a_limit_is_a_429_that_names_key_and_limit(limited: Graph) -> None:
    body = ask("base", max_tokens=60)
    for _ in range(2):  # each reserves 77 and uses 15
        assert (await limited.client.post(CHAT, json=body, headers=ADA)).status_code == 200
    response = await limited.client.post(CHAT, json=body, headers=ADA)
    assert (response.status_code, response.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert "'ada' has 100 tokens a minute" in response.json()["error"]["message"]
    assert 1 <= int(response.headers["retry-after"]) <= 120


async def test_a_request_that_no_limit_ever_lets_through_is_a_400(limited: Graph) -> None:
    response = await limited.client.post(CHAT, json=ask("base", max_tokens=500), headers=ADA)
    assert response.status_code == 400
    assert "100 a minute" in response.json()["error"]["message"]


async def test_what_fails_before_the_engine_costs_no_tokens(limited: Graph) -> None:
    limited.engine.lives = False
    for _ in range(5):
        response = await limited.client.post(CHAT, json=ask("base", max_tokens=60), headers=ADA)
        assert response.status_code == 503
    limited.engine.lives = True
    assert (await limited.client.post(CHAT, json=ask("base", max_tokens=60), headers=ADA)).status_code == 200


async def test_a_client_that_leaves_pays_what_the_engine_has_done(limited: Graph) -> None:
    limited.engine.lasts_s = 30
    for _ in range(4):  # each reserves 57; the engine had 7 + 3 when its client left
        await leave_after(limited, ask("base", max_tokens=40, stream=True), 0.02, headers=ADA)
    limited.engine.lasts_s = 0
    assert limited.engine.cancelled == 4
    response = await limited.client.post(CHAT, json=ask("base", max_tokens=40, stream=True), headers=ADA)
    assert response.status_code == 200


async def test_an_answer_without_a_limit_is_as_long_as_the_keys_tokens_let_it_be(limited: Graph) -> None:
    response = await limited.client.post(CHAT, json=ask("base"), headers=ADA)
    assert response.status_code == 200
    sent = limited.engine.requests[-1]
    assert sent["max_completion_tokens"] == 100 - 17  # 17 are reserved for the question
    response = await limited.client.post(CHAT, json=ask("base"), headers=ADA)
    assert response.status_code == 429
    assert "has no `max_completion_tokens`" in response.json()["error"]["message"]
    response = await limited.client.post(CHAT, json=ask("base", max_tokens=20), headers=ADA)
    assert response.status_code == 200
    assert "max_completion_tokens" not in limited.engine.requests[-1]


async def test_an_answer_without_a_limit_keeps_it_where_the_key_has_tokens_enough(keyed: Graph) -> None:
    for name, limits in (("ada", Limits(tokens_per_minute=5_000)), ("ben", Limits())):
        keyed.principals[name] = Principal(tenant="a", key_id=name, limits=limits)
        headers = {"authorization": f"Bearer {name}"}
        assert (await keyed.client.post(CHAT, json=ask("base"), headers=headers)).status_code == 200
        assert "max_completion_tokens" not in keyed.engine.requests[-1]
