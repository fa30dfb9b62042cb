from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

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
