from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from deploy.local.ports import pick_free
from serve.quota.counters import AwayError, SharedCounters


@dataclass
class RedisServer:
    """A Redis of a test's own, which it may stop and start again."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> Redis:
        return Redis(port=self.port, decode_responses=True)

    def taken(self, key_id: str) -> dict[str, int]:
        """What is counted for a key now: requests and tokens of the last minutes, and streams."""
        with self.client as client:
            names = list(client.scan_iter(f"*graftwork/{key_id}/*"))
            found = dict.fromkeys(("requests", "tokens", "streams"), 0)
            for name in names:
                kind = name.split("/")[2]
                found[kind] += client.zcard(name) if kind == "streams" else int(client.get(name) or 0)
            return found

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        self.process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    server = RedisServer(pick_free(1)[0], tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def counting_in(redis_server: RedisServer) -> AsyncIterator[SharedCounters]:
    """Counts in a Redis that is there, if it just was started."""
    counters = SharedCounters(redis_server.uri, timeout_s=2.0)
    deadline = time.monotonic() + 10
    while True:
        try:
            await counters.get("there")
            break
        except AwayError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    yield counters
    await counters.close()


@pytest.fixture
async def shared(redis_server: RedisServer) -> AsyncIterator[SharedCounters]:
    async with counting_in(redis_server) as counters:
        yield counters


async def until(found: Callable[[], object], *, limit_s: float = 10.0) -> None:
    """Return once something is so; what Redis hears of late comes late on busy cores too."""
    async with asyncio.timeout(limit_s):
        while not found():  # noqa: ASYNC110  Redis tells nobody
            await asyncio.sleep(0.01)


@dataclass
class SlowWay:
    """A way to a Redis on which every answer takes a while."""

    port: int
    delay_s: float

    @property
    def uri(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@asynccontextmanager
async def slow_way(redis_server: RedisServer, *, delay_s: float) -> AsyncIterator[SlowWay]:
    way = SlowWay(0, delay_s)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(2**16):
                if late:
                    await asyncio.sleep(way.delay_s)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", redis_server.port)
        await asyncio.gather(forward(reader, ours, late=False), forward(theirs, writer, late=True))

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    way.port = server.sockets[0].getsockname()[1]
    yield way
    server.close()
