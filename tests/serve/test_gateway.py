"""The live app where it asks for keys: who gets in, what each may take, and what is left of those that leave."""

from __future__ import annotations

import asyncio
import json
import random
import re
import shutil
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from serve.routes import ROUTES
from tests.serve.fuzzed import fuzzed
from tests.serve.quota.conftest import RedisServer, redis_server
from tests.serve.test_app import QUESTION
from tests.serve.test_seen import check_hidden, logs_of, metrics_of, sample
from tests.stack import DEFAULTS, Stack, start_stack
from train.registry.applying import write_specialist
from train.registry.registry import AdapterRegistry

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
# Words that are nowhere else, and requests of each tenant that are after the other's.
SECRETS = {"left": "quenbarrow", "right": "vossimere"}
FUZZED = 100
GRACE_S = 2.0
NOTHING = {"running": 0, "waiting": 0, "engine": 0}
# Ray's workers hand their metrics to the node's agent every 10 s.
REPORTED_S = 45.0


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Stack]:
    stack = start_stack(
        tmp_path_factory.mktemp("keys"),
        haproxy=True,
        keys=True,
        quota={"storage": redis_server.uri, "timeout_s": 5.0},  # two cores are shared with the engine here
        max_concurrent_requests=PLACES,
        max_queued_requests=QUEUE,
        shutdown_grace_s=GRACE_S,
        retriever_results_s=60.0,  # which no other tenant is to see
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


def engine_says(metrics_url: str, name: str) -> float | None:
    """The sum of one of vLLM's own metrics under the scrape URL; None where it is not there."""
    text = httpx.get(metrics_url, trust_env=False).text
    found = re.findall(rf"^ray_vllm[_:]{name}\{{[^}}]*\}} (\S+)$", text, re.MULTILINE)
    return sum(map(float, found)) if found else None


def tokens_told(logs: Path, key_id: str) -> int:
    """Tokens that the log says the requests of a key have cost."""
    lines = "".join(path.read_text() for path in logs.rglob("serve/replica_*.log"))
    return sum(
        int(count)
        for line in lines.splitlines()
        if f"key_id={key_id} " in line
        for count in re.findall(r"(?:prompt|completion)_tokens=(\d+)", line)
    )


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


def test_a_key_reaches_its_collections_and_no_others(gateway: Stack) -> None:
    for collection, found in (("handbook", True), ("elsewhere", False)):
        key, _ = make_key(gateway, "--tenant", "default", "--collection", collection)
        client = client_of(gateway, key)
        assert ("retrieval" in {model.id for model in client.models.list()}) == found
        assert client.chat.completions.create(model="plain", messages=QUESTION, max_tokens=2).choices
        if found:
            answer = client.chat.completions.create(model="retrieval", messages=QUESTION, max_tokens=2)
            assert answer.model_extra is not None
            assert answer.model_extra["graftwork"]["retrieval"] == "found"
        else:
            with pytest.raises(openai.NotFoundError):
                client.chat.completions.create(model="retrieval", messages=QUESTION, max_tokens=2)


def test_what_is_missing_is_a_503_that_says_when_to_come_back(gateway: Stack) -> None:
    document = {"name": "lost", "collection": "nowhere", "generation_defaults": DEFAULTS}
    write_specialist(
        "lost", json.dumps(document).encode(), registry=AdapterRegistry(gateway.home / "graftwork" / "registry")
    )
    wait_for(lambda: status(gateway, gateway.key, "/v1/models/lost") == 200)
    with pytest.raises(openai.InternalServerError) as caught:
        gateway.client.chat.completions.create(model="lost", messages=QUESTION)
    assert (caught.value.status_code, caught.value.code) == (503, "unavailable")
    assert int(caught.value.response.headers["retry-after"]) >= 1


def test_documents_of_another_tenant_are_not_found(gateway: Stack) -> None:
    key, _ = make_key(gateway, "--tenant", "stranger")
    answer = client_of(gateway, key).chat.completions.create(model="retrieval", messages=QUESTION, max_tokens=2)
    assert answer.model_extra is not None
    assert answer.model_extra["graftwork"]["retrieval"] == "none found"
    ours = gateway.client.chat.completions.create(model="retrieval", messages=QUESTION, max_tokens=2)
    assert ours.model_extra is not None
    assert ours.model_extra["graftwork"]["retrieval"] == "found"


async def test_no_passage_reaches_another_tenant_whatever_is_asked(gateway: Stack) -> None:
    keys = {}
    for tenant in ("left", "right"):
        folder = gateway.home / tenant
        folder.mkdir()
        (folder / "secret.md").write_text(f"# Secret\n\nThe secret word of the hawser is {SECRETS[tenant]}.\n")
        gateway.run("index", str(folder), "--collection", "handbook", "--tenant", tenant)
        keys[tenant] = make_key(gateway, "--tenant", tenant)[0]
    chance, places = random.Random(11), asyncio.Semaphore(2)
    ended, found = Counter[int](), Counter[str]()

    async def ask(client: httpx.AsyncClient, tenant: str, other: str) -> None:
        body = fuzzed(chance, other=other)
        async with places:
            headers = {"authorization": f"Bearer {keys[tenant]}"}
            response = await client.post("/v1/retrieve", json=body, headers=headers)
        ended[response.status_code] += 1
        assert SECRETS[other] not in response.text, body
        if response.status_code == 200:
            passages = response.json()["data"]
            assert all(passage["uri"].endswith(f"/{tenant}/secret.md") for passage in passages), body
            found[tenant] += len(passages)

    async with httpx.AsyncClient(base_url=gateway.url, timeout=60, trust_env=False) as client:
        pairs = [("left", "right"), ("right", "left")] * FUZZED
        await asyncio.gather(*(ask(client, tenant, other) for tenant, other in pairs))
    print(f"\n{dict(ended)}; passages {dict(found)}")
    assert set(ended) <= {200, 400}
    assert all(found[tenant] > 0 for tenant in keys)


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


def test_streams_of_a_key_are_counted_while_they_last(gateway: Stack, redis_server: RedisServer) -> None:
    key, key_id = make_key(gateway, "--tenant", "ada", "--streams", "1")
    client = client_of(gateway, key)

    def stream() -> openai.Stream[object]:
        return client.chat.completions.create(  # type: ignore[no-any-return, call-overload]
            model="base", messages=QUESTION, stream=True, max_tokens=600, extra_body={"ignore_eos": True}
        )

    for _ in range(2):
        with stream() as first:
            next(iter(first))
            assert redis_server.taken(key_id)["streams"] == 1
            with pytest.raises(openai.RateLimitError, match="1 streams at once") as caught:
                stream()
            assert int(caught.value.response.headers["retry-after"]) >= 1
            assert client.chat.completions.create(model="base", messages=QUESTION, max_tokens=2).choices
        wait_for(lambda: redis_server.taken(key_id)["streams"] == 0, limit_s=2.0)


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
        with ExitStack() as connections:
            for _ in range(4):  # enough for an engine of any speed to be seen at work
                connection = socket.create_connection((str(parts.hostname), parts.port or 80), timeout=30)
                connections.enter_context(connection).sendall(head.encode() + body)
            wait_for(lambda: load_of(probe)["engine"] >= 1)
        wait_for(lambda: load_of(probe) == NOTHING, limit_s=1.0)


async def test_two_hundred_clients_that_leave_at_random_leave_nothing_behind(
    gateway: Stack, redis_server: RedisServer
) -> None:
    chance = random.Random(7)
    key, key_id = make_key(gateway, "--tenant", "ada", "--streams", "40", "--tokens-per-minute", "1000000")
    told = gateway.run("status", "--json").json
    metrics_url = str(told["urls"]["metrics"])  # type: ignore[call-overload, index]
    generated = engine_says(metrics_url, "generation_tokens_total") or 0.0

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
    wait_for(lambda: redis_server.taken(key_id)["streams"] == 0, limit_s=2.0)
    logs = Path(str(told["temp_dir"]))
    wait_for(lambda: redis_server.taken(key_id)["tokens"] == tokens_told(logs, key_id) > 0, limit_s=10.0)
    completion = client_of(gateway, key).chat.completions.create(model="both", messages=QUESTION, max_tokens=2)
    assert completion.choices
    wait_for(
        lambda: (
            (engine_says(metrics_url, "generation_tokens_total") or 0.0) > generated
            and engine_says(metrics_url, "num_requests_running") == 0
        ),
        limit_s=REPORTED_S,
    )


def test_up_again_asks_no_model_where_the_operator_has_no_key(gateway: Stack) -> None:
    stranger = Stack(home=gateway.home, config=gateway.config, url=gateway.url)
    assert "no model was asked" in stranger.run("up").stdout or stranger.run("status").code == 0


def test_no_log_has_a_real_key_and_what_it_was_refused_is_counted(gateway: Stack) -> None:
    key, key_id = make_key(gateway, "--tenant", "ada", "--requests-per-minute", "1")
    wrong = "gw-" + "x" * 8 + "-" + "y" * 43
    headers = [{"authorization": f"Bearer {key}"}, {"authorization": f"Bearer {wrong}"}, {"x-api-key": key}]
    body = {"model": "both", "messages": QUESTION, "max_tokens": 2}
    ways = [
        (CHAT, headers[0], body),
        (CHAT, headers[1], body),
        ("/v1/messages", headers[2], {**body, "model": "plain"}),
    ]
    with httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as client:
        statuses = [client.post(path, json=sent, headers=way).status_code for path, way, sent in ways]
    assert statuses == [200, 401, 429]
    metrics_of(
        gateway,
        sample("shed_total", reason="rate_limit_exceeded"),
        sample("errors_total", code="invalid_api_key", model="none"),
        sample("stage_seconds_count", stage="auth", model="both", adapter="ropes@2"),
        sample("completion_tokens_total", model="both", tenant="ada"),
    )
    gateway.run("keys", "list")
    logs = logs_of(gateway)
    check_hidden(logs, key, key[-43:], wrong, gateway.key)
    assert any(f"key_id={key_id}".encode() in path.read_bytes() for path in logs)


async def test_no_stream_is_lost_when_the_app_is_taken_down(gateway: Stack) -> None:
    """The last one here: it ends the instance."""
    headers = {"authorization": f"Bearer {gateway.key}"}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=60, trust_env=False) as client:

        async def stream(begun: asyncio.Event, model: str, **limits: int) -> list[str]:
            body = {"model": model, "messages": QUESTION, "stream": True, "ignore_eos": True, **limits}
            async with client.stream("POST", CHAT, json=body) as response:
                assert response.status_code == 200
                lines = []
                async for line in response.aiter_lines():
                    begun.set()
                    lines.append(line)
            return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

        async def begin(model: str, **limits: int) -> asyncio.Task[list[str]]:
            begun = asyncio.Event()
            task = asyncio.create_task(stream(begun, model, **limits))
            await begun.wait()
            return task

        short = [await begin("both", max_tokens=24) for _ in range(2)]
        # The engine takes eight sequences at once: these need minutes, however long `down` takes to start.
        long = await begin("base", max_tokens=900, n=96)
        down = asyncio.create_task(asyncio.to_thread(gateway.run, "down", "--json"))
        whole, cut = await asyncio.gather(*short), await long
        assert (await down).json["graceful"] is True
    for events in whole:
        assert events[-1] == "[DONE]"
        assert any('"finish_reason":"length"' in event for event in events)
    assert cut[-1] == "[DONE]"
    assert json.loads(cut[-2])["error"]["code"] == "shutting_down"
