"""Two replicas behind HAProxy: who gets which adapter's requests, and what becomes of those of a replica that goes."""

from __future__ import annotations

import asyncio
import json
import random
import re
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.local.traffic import parse, scrape
from tests.serve.test_app import wait_for_models
from tests.stack import Stack, build_tiny_adapter, start_stack
from train.base_model import describe_base
from train.registry import AdapterRegistry, Provenance, publish_adapter

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(600)]

# Both together hold them all, one alone does not.
ADAPTERS, RESIDENT, SLOTS = 32, 20, 8
REQUESTS = 800
# Until the metrics of all processes have been reported: Ray does so every ten seconds.
REPORTED_S, SCRAPES = 15.0, 5
# Long enough that all still run when a replica is told to go, short enough for its grace.
STREAMS, STREAM_TOKENS = 12, 600
CALLERS = 6
PROMPT = {"prompt": "The rope of the north berth", "max_tokens": 2, "temperature": 0}
ANSWERED = re.compile(r"request_id=(\S+)")


@dataclass(frozen=True, slots=True)
class Pair:
    """A live instance with two replicas and its adapters."""

    stack: Stack
    logs: Path
    metrics_url: str

    def client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=64)
        return httpx.AsyncClient(base_url=self.stack.url, timeout=120, limits=limits, trust_env=False)

    def answered(self) -> dict[str, frozenset[str]]:
        """The ids of the requests that each replica has answered, by the name of its log."""
        logs = self.logs.rglob("serve/replica_*SpecialistServer*.log")
        return {path.stem: frozenset(ANSWERED.findall(path.read_text())) for path in logs}

    async def loads(self) -> float:
        """Adapters that replicas have loaded since they started; a busy process may be missing in one scrape."""
        seen = []
        for _ in range(SCRAPES):
            await asyncio.sleep(REPORTED_S / SCRAPES)
            samples = parse(await asyncio.to_thread(scrape, self.metrics_url), at=0.0).samples
            events = [each for each in samples if each.name == "adapter_events_total"]
            seen.append(sum(each.value for each in events if each.labels["event"] == "load"))
        return max(seen)

    def replicas(self) -> frozenset[int]:
        """The pids of the engine replicas that run."""
        return frozenset(each["pid"] for each in self.processes() if "SpecialistServer" in str(each["role"]))

    def processes(self) -> list[dict[str, Any]]:
        """All processes of the instance, as `status` tells of them."""
        found: Any = self.stack.run("status", "--json").json["processes"]
        return list(found)

    def scale(self, replicas: int) -> None:
        """Ask for so many, as a user does: in the settings file, with `up`."""
        settings = yaml.safe_load(self.stack.config.read_text())
        settings["serve"]["replicas"] = replicas
        self.stack.config.write_text(yaml.safe_dump(settings))
        self.stack.run("up")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    stack = start_stack(
        folder,
        haproxy=True,
        replicas=2,
        cpus_per_replica=0.5,
        max_adapters=SLOTS,
        max_resident_adapters=RESIDENT,
        route_by_body=True,
        retriever="in_process",
    )
    base = folder / "tiny-base"
    registry, described = AdapterRegistry(folder / "graftwork" / "registry"), describe_base(base, name=str(base))
    for number in range(ADAPTERS):
        source = build_tiny_adapter(base, folder / f"a{number}", seed=10 + number)
        publish_adapter(source, registry=registry, name=f"a{number}", base=described, provenance=Provenance())
    wait_for_models(stack, f"a{ADAPTERS - 1}@1")
    status: Any = stack.run("status", "--json").json
    yield Pair(stack, Path(status["temp_dir"]), metrics_url=status["urls"]["metrics"])
    stack.run("down")


async def test_a_replica_with_a_retriever_of_its_own_finds_and_embeds(pair: Pair) -> None:
    roles = {str(each["role"]) for each in pair.processes()}
    assert "replica Retriever" not in roles
    ids = set()
    async with pair.client() as client:
        for number in range(12):
            asked = {"model": "retrieval", "query": f"How long is the hawser of berth {number}?"}
            found = await client.post("/v1/retrieve", json=asked)
            assert found.json()["data"][0]["uri"].endswith("ropes.md")
            body = {"model": "retrieval", "messages": [{"role": "user", "content": asked["query"]}], "max_tokens": 2}
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.json()["graftwork"]["citations"][0]["uri"].endswith("ropes.md")
            ids |= {found.headers["x-request-id"], answer.headers["x-request-id"]}
        texts = {"model": "embedder", "input": ["a rope", "a lamp"]}
        vectors = (await client.post("/v1/embeddings", json=texts)).json()["data"]
        unknown = await client.post("/v1/retrieve", json={"model": "plain", "query": "ropes"})
    assert [len(each["embedding"]) for each in vectors] == [384, 384]
    assert unknown.status_code == 400
    assert all(known & ids for known in pair.answered().values())


async def ask(client: httpx.AsyncClient, model: str, **headers: str) -> str:
    """The id of a request for a model, which is answered."""
    response = await client.post("/v1/completions", json={**PROMPT, "model": model}, headers=headers)
    assert response.status_code == 200, response.text
    return response.headers["x-request-id"]


@pytest.mark.parametrize("named_in", ["body", "header"])
async def test_requests_go_where_their_adapter_is_and_all_have_work(pair: Pair, named_in: str) -> None:
    chance = random.Random(3)
    asked = chance.choices(range(ADAPTERS), weights=[1 / (number + 1) for number in range(ADAPTERS)], k=REQUESTS)
    loads_before = await pair.loads()
    left = iter(asked)
    ids: list[str] = []
    took: list[float] = []

    async def call(client: httpx.AsyncClient) -> None:
        for number in left:
            ref = f"a{number}@1"
            headers = {"x-graftwork-model": ref} if named_in == "header" else {}
            since = time.perf_counter()
            ids.append(await ask(client, ref, **headers))
            took.append(time.perf_counter() - since)

    async with pair.client() as client:
        await asyncio.gather(*(call(client) for _ in range(CALLERS)))
    loads_after = await pair.loads()
    loads = loads_after - loads_before
    shares = sorted(len(known & set(ids)) for known in pair.answered().values())
    hits = 1 - loads / REQUESTS
    median_ms = statistics.median(took) * 1000
    print(f"\n{named_in}: hits {hits:.3f}, {loads:.0f} loads, requests per replica {shares}, median {median_ms:.1f} ms")
    assert sum(shares) == REQUESTS
    assert loads > 0
    assert hits >= 0.9
    assert shares[-1] <= 1.25 * REQUESTS / 2 + 10  # what the router calls chance


@dataclass(slots=True)
class Witness:
    """What clients saw while a replica went."""

    answers: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    streamed: dict[str, str] = field(default_factory=dict)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, client: httpx.AsyncClient, number: int) -> None:
        """Ask one after the other until it is done."""
        while not self.done.is_set():
            model = "base" if number % 2 else f"a{number}@1"
            since = time.monotonic()
            try:
                response = await client.post("/v1/completions", json={**PROMPT, "model": model})
            except httpx.HTTPError as error:
                self.failures.append(f"{error!r} after {time.monotonic() - since:.1f} s")
                continue
            if response.status_code == 200:
                self.answers.append(response.headers["x-request-id"])
            else:
                took_s = time.monotonic() - since
                self.failures.append(f"{response.status_code} after {took_s:.1f} s: {response.text[:200]}")

    async def stream(self, client: httpx.AsyncClient, number: int) -> None:
        """Take a long stream and keep its last words."""
        body = {
            **PROMPT,
            "model": f"a{number % ADAPTERS}@1",
            "stream": True,
            "max_tokens": STREAM_TOKENS,
            "ignore_eos": True,
            "stream_options": {"include_usage": True},
        }
        async with client.stream("POST", "/v1/completions", json=body) as response:
            events = [line[6:] async for line in response.aiter_lines() if line.startswith("data: ")]
            usages = [usage for event in events[:-1] if (usage := json.loads(event).get("usage"))]
            tokens = usages[-1]["completion_tokens"] if usages else None
            self.streamed[response.headers["x-request-id"]] = f"{response.status_code} {tokens} {events[-1]}"


@asynccontextmanager
async def calling(client: httpx.AsyncClient) -> AsyncIterator[Witness]:
    """Callers at work for the block."""
    witness = Witness()
    tasks = [asyncio.create_task(witness.call(client, number)) for number in range(CALLERS)]
    try:
        yield witness
    finally:
        witness.done.set()
        await asyncio.gather(*tasks)


async def test_a_replica_that_goes_loses_no_request_and_no_stream(pair: Pair) -> None:
    before = await asyncio.to_thread(pair.replicas)
    assert len(before) == 2
    async with pair.client() as client, calling(client) as witness:
        streams = [asyncio.create_task(witness.stream(client, number)) for number in range(STREAMS)]
        await asyncio.sleep(1.0)
        since = time.monotonic()
        scaling = asyncio.create_task(asyncio.to_thread(pair.scale, 1))
        await asyncio.gather(*streams)
        streamed_s = time.monotonic() - since
        await scaling
        gone_s = time.monotonic() - since
        await asyncio.sleep(2.0)
    after = await asyncio.to_thread(pair.replicas)
    answered = pair.answered()
    shares = {name: len(known & witness.streamed.keys()) for name, known in answered.items()}
    print(
        f"\n{len(witness.answers)} answers; streams of {streamed_s:.1f} s per replica: {shares}; gone in {gone_s:.1f} s"
    )
    assert witness.failures == []
    assert set(witness.streamed.values()) == {f"200 {STREAM_TOKENS} [DONE]"}
    assert len(witness.streamed) == STREAMS
    assert min(shares.values()) >= 2, "the replica that went had streams to lose"
    assert len(after) == 1
    assert after < before, "the one that stayed was not restarted"


async def test_a_replica_that_comes_takes_its_part(pair: Pair) -> None:
    """The last one here: the other replica is there again afterwards."""
    before = await asyncio.to_thread(pair.replicas)
    async with pair.client() as client, calling(client) as witness:
        await asyncio.to_thread(pair.scale, 2)
        await asyncio.sleep(2.0)
        fresh = len(witness.answers)
        await asyncio.sleep(6.0)
    after = await asyncio.to_thread(pair.replicas)
    late = frozenset(witness.answers[fresh:])
    shares = {name: len(known & late) for name, known in pair.answered().items()}
    print(f"\n{len(witness.answers)} answers; afterwards per replica: {shares}")
    assert witness.failures == []
    assert before < after, "the one that was there was not restarted"
    assert sum(share > 0 for share in shares.values()) == 2
