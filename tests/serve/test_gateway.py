"""The live app where it asks for keys: who gets in, what each may take, and what is left of those that leave."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from serve.routes import ROUTES
from tests.serve.quota.conftest import RedisServer, redis_server
from tests.serve.test_app import QUESTION
from tests.stack import Stack, start_stack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed"),
]
__all__ = ["redis_server"]

CHAT = "/v1/chat/completions"
# Above the poll interval of the key file, with room for a busy machine.
TAKEN_UP_S = 15.0
LONG = {"max_tokens": 900, "temperature": 0, "ignore_eos": True}
PLACES, QUEUE = 4, 4
NOTHING = {"running": 0, "waiting": 0, "engine": 0}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Stack]:
    stack = start_stack(
        tmp_path_factory.mktemp("keys"),
        haproxy=True,
        keys=True,
        quota={"storage": redis_server.uri},
        max_concurrent_requests=PLACES,
        max_queued_requests=QUEUE,
    )
    yield stack
    stack.run("down")


def make_key(stack: Stack, *options: str) -> tuple[str, str]:
    """A new key that the app has taken up: its text and its id."""
    made = stack.run("keys", "create", *options, "--json").json
    key, key_id = str(made["key"]), str(made["id"])
    wait_for(lambda: status(stack, key) == 200)
    return key, key_id


def status(stack: Stack, key: str | None, path: str = "/v1/models") -> int:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.get(stack.url + path, headers=headers, trust_env=False, timeout=30).status_code


def wait_for(condition: object, limit_s: float = TAKEN_UP_S) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def client_of(stack: Stack, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key, max_retries=0, timeout=60)


def load_of(probe: httpx.Client) -> dict[str, int]:
    """What the replica says of its load; the probe is made before the load, as that takes seconds beside it."""
    loads: dict[str, int] = probe.get("/load").json()
    return loads


@pytest.mark.parametrize(
    "path", sorted({*(route.path for route in ROUTES), "/metrics", "/docs", "/v1/load_lora_adapter"})
)
def test_every_path_but_health_asks_for_a_key(gateway: Stack, path: str) -> None:
    for key in (None, "wrong", "gw-aaaaaaaa-" + "b" * 43):
        expected = 200 if path in ("/healthz", "/readyz") else 401
        assert status(gateway, key, path) == expected
        if expected == 401:
            headers = {} if key is None else {"authorization": f"Bearer {key}"}
            answer = httpx.post(gateway.url + path, headers=headers, json={"model": "base"}, trust_env=False)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["error"]["type"] == "authentication_error"


def test_a_key_works_and_ends_without_a_restart(gateway: Stack) -> None:
    key, key_id = make_key(gateway, "--tenant", "ada")
    completion = client_of(gateway, key).chat.completions.create(model="base", messages=QUESTION, max_tokens=2)
    assert completion.choices
    gateway.run("keys", "revoke", key_id)
    wait_for(lambda: status(gateway, key) == 401)


def test_a_key_reaches_its_models_and_no_others(gateway: Stack) -> None:
    key, _ = make_key(gateway, "--tenant", "ada", "--model", "plain", "--model", "ropes@1")
    client = client_of(gateway, key)
    assert {model.id for model in client.models.list()} == {"plain", "ropes@1"}
    assert client.chat.completions.create(model="plain", messages=QUESTION, max_tokens=2).choices
    for model in ("base", "retrieval", "ropes@2"):
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model=model, messages=QUESTION, max_tokens=2)


def test_documents_of_another_tenant_are_not_found(gateway: Stack) -> None:
    key, _ = make_key(gateway, "--tenant", "stranger")
    answer = client_of(gateway, key).chat.completions.create(model="retrieval", messages=QUESTION, max_tokens=2)
    assert answer.model_extra is not None
    assert answer.model_extra["graftwork"]["retrieval"] == "none found"
    ours = gateway.client.chat.completions.create(model="retrieval", messages=QUESTION, max_tokens=2)
    assert ours.model_extra is not None
    assert ours.model_extra["graftwork"]["retrieval"] == "found"


def test_no_tenant_has_tokens_from_anothers_cache(gateway: Stack) -> None:
    ada, ben = (client_of(gateway, make_key(gateway, "--tenant", tenant)[0]) for tenant in ("ada", "ben"))
    question = [{"role": "user", "content": "The hawser is long. " * 120}]

    def cached(client: openai.OpenAI, **more: object) -> int:
        completion = client.chat.completions.create(
            model="base",
            messages=question,
            max_tokens=1,
            extra_body=more,  # type: ignore[arg-type]
        )
        assert completion.usage is not None
        details = completion.usage.prompt_tokens_details
        return (details.cached_tokens or 0) if details else 0

    assert cached(ada) == 0
    assert cached(ada) > 0
    assert cached(ben) == 0
    assert cached(ben, cache_salt="ada") == 0
    assert cached(ben) > 0


def test_limits_of_a_key_are_its_own(gateway: Stack) -> None:
    key, _ = make_key(gateway, "--tenant", "ada", "--requests-per-minute", "2", "--tokens-per-minute", "500")
    client = client_of(gateway, key)
    with pytest.raises(openai.BadRequestError, match="500 a minute"):
        client.chat.completions.create(model="base", messages=QUESTION, max_tokens=800)
    for _ in range(2):
        client.chat.completions.create(model="base", messages=QUESTION, max_tokens=2)
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="base", messages=QUESTION, max_tokens=2)
    assert caught.value.code == "rate_limit_exceeded"
    assert int(caught.value.response.headers["retry-after"]) >= 1
    assert gateway.client.chat.completions.create(model="base", messages=QUESTION, max_tokens=2).choices


async def test_a_filled_queue_shows_only_429(gateway: Stack) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, headers=gateway.http.headers, timeout=60) as client:
        body = {"model": "base", "messages": QUESTION, **LONG, "max_tokens": 60}
        answers = await asyncio.gather(*(client.post(CHAT, json=body) for _ in range(60)))
    kinds = {answer.status_code for answer in answers}
    assert kinds == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert answer.json()["error"]["code"] == "overloaded"
            assert int(answer.headers["retry-after"]) >= 1
    assert sum(answer.status_code == 200 for answer in answers) >= PLACES + QUEUE
    with gateway.http as probe:
        assert load_of(probe) == NOTHING


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_its_generation_within_a_second(gateway: Stack, stream: bool) -> None:
    parts = urlsplit(gateway.url)
    body = json.dumps({"model": "both", "messages": QUESTION, "stream": stream, **LONG, "max_tokens": 600}).encode()
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: {parts.hostname}\r\nAuthorization: Bearer {gateway.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with gateway.http as probe:
        with socket.create_connection((str(parts.hostname), parts.port or 80), timeout=30) as connection:
            connection.sendall(head.encode() + body)
            wait_for(lambda: load_of(probe)["engine"] == 1)
        wait_for(lambda: load_of(probe) == NOTHING, limit_s=1.0)


async def test_two_hundred_clients_that_leave_at_random_leave_nothing_behind(gateway: Stack) -> None:
    chance = random.Random(7)
    key, _ = make_key(gateway, "--tenant", "ada", "--streams", "200", "--tokens-per-minute", "1000000")

    async def visit(client: httpx.AsyncClient) -> None:
        model = chance.choice(["base", "retrieval", "ropes@1", "ropes@2", "both"])
        body = {"model": model, "messages": QUESTION, "stream": chance.random() < 0.7, **LONG, "max_tokens": 400}
        await asyncio.sleep(chance.random() * 4)
        try:
            async with asyncio.timeout(chance.random() * 2):
                await client.post(CHAT, json=body)
        except TimeoutError:
            return

    limits = httpx.Limits(max_connections=200)
    headers = {"authorization": f"Bearer {key}"}
    with gateway.http as probe:
        async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=60, limits=limits) as client:
            await asyncio.gather(*(visit(client) for _ in range(200)))
        wait_for(lambda: load_of(probe) == NOTHING, limit_s=1.0)
    completion = client_of(gateway, key).chat.completions.create(model="both", messages=QUESTION, max_tokens=2)
    assert completion.choices


def test_up_again_asks_no_model_where_the_operator_has_no_key(gateway: Stack) -> None:
    stranger = Stack(home=gateway.home, config=gateway.config, url=gateway.url)
    assert "no model was asked" in stranger.run("up").stdout or stranger.run("status").code == 0
