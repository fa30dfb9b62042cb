"""A replica's view of a registry in a bucket, on a real S3 server whose own log says what was asked of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from indexer.errors import InputError
from serve.adapter_files import AdapterFiles
from serve.registry_view import RegistryView
from tests.s3 import S3Server, running_s3
from tests.stack import free_port
from tests.train.conftest import write_adapter, write_checkpoint
from train.base_model import BaseModelFiles, describe_base
from train.registry import AdapterRegistry, Provenance, publish_adapter

BUCKET = "adapters"
# What a publish may take until every replica knows it, by the issue that asked for it.
VISIBLE_S = 5.0


class Place:
    """A bucket with a registry of one adapter, and the log of its server."""

    def __init__(self, server: S3Server, log: Path, folder: Path) -> None:
        self.uri = f"s3://{BUCKET}/registry{server.query}"
        self.log = log
        self.folder = folder
        write_checkpoint(folder / "base")
        self.base: BaseModelFiles = describe_base(folder / "base", name="small")
        self.adapter = write_adapter(folder / "adapter")
        self.registry = AdapterRegistry(self.uri)

    def publish(self, name: str) -> None:
        publish_adapter(self.adapter, registry=self.registry, name=name, base=self.base, provenance=Provenance())

    def view(self, *, interval_s: float = 1.0) -> RegistryView:
        registry = AdapterRegistry(self.uri, cache_dir=self.folder / "cache")
        return RegistryView(registry, base_name="base", base=self.base, max_lora_rank=16, interval_s=interval_s)

    def files(self, *, needed: set[str]) -> AdapterFiles:
        """The files of a replica, in a cache that keeps none but those in use."""
        registry = AdapterRegistry(self.uri, cache_dir=self.folder / "cache", cache_bytes=0)
        return AdapterFiles(registry, base=self.base, max_lora_rank=16, needed=lambda: needed, interval_s=1.0)

    def requests(self) -> list[str]:
        """Lines of the server's log, one a request."""
        return [line for line in self.log.read_text().splitlines() if "HTTP/1.1" in line]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name, value in (("ACCESS_KEY_ID", "owner"), ("SECRET_ACCESS_KEY", "secret"), ("REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    log = tmp_path / "s3.log"
    with running_s3(free_port(), log) as server:
        server.start_with(BUCKET)
        yield Place(server, log, tmp_path)


async def test_each_poll_is_one_request_for_the_index_however_many_adapters_there_are(place: Place) -> None:
    for number in range(12):
        await asyncio.to_thread(place.publish, f"a{number}")
    view = await asyncio.to_thread(lambda: place.view(interval_s=0.05))
    before = len(place.requests())
    following = asyncio.create_task(view.follow())
    await asyncio.sleep(1.0)
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    polls = place.requests()[before:]
    assert len(polls) >= 3
    assert [line for line in polls if "/registry/index.json" not in line or " 304 " not in line] == []


async def test_a_publish_is_seen_in_time_at_the_default_interval_and_its_files_come_checked(place: Place) -> None:
    await asyncio.to_thread(place.publish, "first")
    view = await asyncio.to_thread(place.view)
    following = asyncio.create_task(view.follow())
    await asyncio.to_thread(place.publish, "late")
    deadline = time.monotonic() + VISIBLE_S
    while not view.catalog.serves("late@1"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    following.cancel()
    adapter = view.catalog.resolve("late", key="").adapter
    assert adapter is not None
    files = place.files(needed=set())
    async with files.use(adapter) as folder:
        assert folder.is_relative_to(place.folder / "cache")
    weights = "adapters/first/1/adapter_model.safetensors"
    place.registry.storage.write(weights, b"x" * len(place.registry.storage.read(weights).content))
    with pytest.raises(InputError, match=r"first@1 is damaged"):
        async with files.use(view.catalog.adapters["first@1"]):
            pass


async def test_what_no_replica_of_a_node_needs_leaves_their_cache_and_what_one_needs_stays(place: Place) -> None:
    for name in ("one", "two", "three"):
        await asyncio.to_thread(place.publish, name)
    needed: tuple[set[str], set[str]] = (set(), set())
    first, second = (place.files(needed=each) for each in needed)
    one, two, three = (place.registry.resolve(name) for name in ("one", "two", "three"))
    async with first.use(one) as of_one, second.use(one), second.use(two) as of_two:
        async with first.use(three) as of_three:
            needed[0].add("three@1")
        await first.tidy()
        assert of_one.is_dir()
        assert of_two.is_dir()
    needed[1].add("one@1")
    for files in (first, second):
        await files.tidy()
    assert [folder.is_dir() for folder in (of_one, of_two, of_three)] == [True, False, True]
    needed[1].clear()
    await second.tidy()
    assert [folder.is_dir() for folder in (of_one, of_three)] == [False, True]
    async with second.use(one) as again:
        assert again == of_one
        assert {path.name for path in again.iterdir()} == set(one.files)
