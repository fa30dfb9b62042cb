"""Milvus slow, gone, back, renewed and emptied while clients ask: each specialist does what its setting says."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import yaml
from pymilvus import MilvusClient

from tests.indexer.conftest import free_port, start_milvus, wait_until_listening
from tests.models import build_tiny_llama
from tests.relay import Relay, relay_to
from tests.serve.test_app import wait_for_models
from tests.stack import DEFAULTS, HANDBOOK, Stack, open_stack, write_config

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(600)]

# 'wants' has no answer without passages, 'likes' answers all the same; neither waits long for them.
SPECIALISTS: tuple[dict[str, object], ...] = (
    {"name": "wants", "collection": "handbook", "retrieval": {"timeout_s": 1.0, "on_failure": "error"}},
    {"name": "likes", "collection": "handbook", "retrieval": {"timeout_s": 1.0, "on_failure": "answer"}},
    {"name": "waits", "collection": "handbook", "retrieval": {"on_failure": "error"}},
)
MODELS = ("base", "wants", "likes")
FOUND = {"base": "200 none", "wants": "200 found", "likes": "200 found", "waits": "200 found"}
FAILED = {"base": "200 none", "wants": "503 unavailable", "likes": "200 failed"}
SLOW_S = 2.0
# Seconds in which what has changed in Milvus is to show in every answer; and how long it is looked at then.
SHOWN_S, LOOKED_S = 20.0, 3.0


@dataclass(slots=True)
class World:
    """An instance whose Milvus is ours to disturb."""

    stack: Stack
    relay: Relay
    data: Path
    milvus: subprocess.Popen[bytes]

    def start_milvus(self) -> None:
        self.milvus = start_milvus(self.data, self.relay.upstream)
        wait_until_listening(f"http://127.0.0.1:{self.relay.upstream}", timeout_s=60)

    def kill_milvus(self) -> None:
        self.milvus.kill()
        self.milvus.wait()

    def index(self, *flags: str) -> None:
        self.stack.run("index", str(self.stack.home / "handbook"), "--collection", "handbook", *flags)

    def index_otherwise(self) -> None:
        """Into chunks of another size, which takes a new generation."""
        settings = yaml.safe_load(self.stack.config.read_text())
        settings["indexer"]["chunk_tokens"] = 150
        self.stack.config.write_text(yaml.safe_dump(settings))
        self.index("--new-generation")

    def drop_collection(self) -> None:
        client = MilvusClient(f"http://127.0.0.1:{self.relay.upstream}")
        physical = client.describe_alias("handbook")["collection_name"]
        client.drop_alias("handbook")
        client.drop_collection(physical)
        client.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("trouble")
    write_config(folder, base_model=build_tiny_llama(folder / "tiny-base"), haproxy=True)
    data, port = folder / "milvus", free_port()
    data.mkdir()
    with relay_to(port) as relay:
        config = folder / "graftwork.yaml"
        settings = yaml.safe_load(config.read_text())
        settings["indexer"]["milvus_uri"] = f"http://127.0.0.1:{relay.port}"
        settings["deploy"]["start_milvus"] = False
        config.write_text(yaml.safe_dump(settings))
        world = World(open_stack(folder), relay, data, start_milvus(data, port))
        try:
            wait_until_listening(f"http://127.0.0.1:{port}", timeout_s=60)
            world.stack.run("up")
            (folder / "handbook").mkdir()
            for name, text in HANDBOOK.items():
                (folder / "handbook" / name).write_text(text)
            world.index()
            for specialist in SPECIALISTS:
                path = folder / f"{specialist['name']}.json"
                path.write_text(json.dumps({**specialist, "generation_defaults": DEFAULTS}))
                world.stack.run("specialists", "apply", str(path))
            wait_for_models(world.stack, *FOUND)
            yield world
        finally:
            world.stack.run("down", check=False)
            world.kill_milvus()


@dataclass(slots=True)
class Heard:
    """What clients heard: when, of which model, how it ended, from which generation, after how many seconds."""

    at: float
    model: str
    ending: str
    generation: int | None
    took_s: float


@dataclass(slots=True)
class Clients:
    """Some for each model, who ask one after the other."""

    models: tuple[str, ...]
    heard: list[Heard] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, client: httpx.AsyncClient, model: str, number: int) -> None:
        asked = 0
        while not self.done.is_set():
            asked += 1
            question = f"How long is the hawser? ({number}.{asked})"  # never one whose vector is remembered
            body = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": 2}
            since = time.monotonic()
            response = await client.post("/v1/chat/completions", json=body)
            answer = response.json()
            told = answer.get("graftwork", {})
            mark = told.get("retrieval") or "none" if response.status_code == 200 else answer["error"]["code"]
            took_s = time.monotonic() - since
            ending = f"{response.status_code} {mark}"
            self.heard.append(Heard(since, model, ending, told.get("generation"), took_s))
            await asyncio.sleep(0.02)

    async def until_all(self, expected: dict[str, str]) -> float:
        """Seconds until every model's answers end as they should; they then have to, for a while.

        An answer counts where its request was made after this began.
        """
        began = time.monotonic()
        deadline = began + SHOWN_S
        wrong = began
        while time.monotonic() < wrong + LOOKED_S or not self._all_heard(since=wrong):
            await asyncio.sleep(0.1)
            late = [each.at for each in self.heard if each.at >= began and each.ending != expected[each.model]]
            wrong = max([began, *late])
            assert wrong < deadline, self.endings(since=wrong - 1)
            assert time.monotonic() < deadline + LOOKED_S, self.endings(since=began)
        return wrong - began

    def _all_heard(self, *, since: float) -> bool:
        return {each.model for each in self.heard if each.at > since} == set(self.models)

    def endings(self, *, since: float) -> Counter[str]:
        return Counter(f"{each.model}: {each.ending}" for each in self.heard if each.at >= since)


@asynccontextmanager
async def clients_of(stack: Stack, *models: str) -> AsyncIterator[Clients]:
    clients = Clients(models)
    limits = httpx.Limits(max_connections=32)
    async with httpx.AsyncClient(base_url=stack.url, timeout=60, limits=limits, trust_env=False) as client:
        tasks = [asyncio.create_task(clients.ask(client, model, number)) for model in models for number in range(2)]
        try:
            yield clients
        finally:
            clients.done.set()
            await asyncio.gather(*tasks)


def slow_down(world: World) -> None:
    world.relay.delay_s = SLOW_S


def speed_up(world: World) -> None:
    world.relay.delay_s = 0.0


@pytest.mark.parametrize(
    ("trouble", "mended"),
    [
        (slow_down, speed_up),
        (World.kill_milvus, World.start_milvus),
        (World.drop_collection, World.index),
    ],
)
async def test_each_specialist_does_what_its_setting_says_and_recovers(
    world: World, trouble: Callable[[World], None], mended: Callable[[World], None]
) -> None:
    async with clients_of(world.stack, *MODELS) as clients:
        await clients.until_all(FOUND)
        await asyncio.to_thread(trouble, world)
        failing_s = await clients.until_all(FAILED)
        since = time.monotonic()
        await asyncio.sleep(2.0)
        waits = [each.took_s for each in clients.heard if each.at >= since]
        await asyncio.to_thread(mended, world)
        mended_s = await clients.until_all(FOUND)
    print(f"\n{trouble.__name__}: shows after {failing_s:.1f} s, longest answer {max(waits):.1f} s; ", end="")
    print(f"{mended.__name__}: all is well after {mended_s:.1f} s")
    assert {each.ending for each in clients.heard if each.model == "base"} == {"200 none"}
    assert {each.ending for each in clients.heard} <= {*FOUND.values(), *FAILED.values()}


async def test_a_new_generation_takes_over_and_no_request_notices(world: World) -> None:
    async with clients_of(world.stack, "base", "waits") as clients:
        await clients.until_all(FOUND)
        await asyncio.to_thread(world.index_otherwise)
        await clients.until_all(FOUND)
    generations = [each.generation for each in clients.heard if each.model == "waits"]
    print(f"\n{Counter(generations)}; longest answer {max(each.took_s for each in clients.heard):.1f} s")
    assert {each.ending for each in clients.heard} == set(FOUND.values())
    assert set(generations) == {1, 2}
