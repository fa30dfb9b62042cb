"""The HAProxy that Serve would start, for real, before a server that notes whose leaving it does not hear of."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import uvicorn
from ray.serve._private.haproxy_templates import HAPROXY_CONFIG_TEMPLATE
from starlette.types import Receive, Scope, Send

from deploy.local.ports import pick_free
from serve.haproxy import BINARY_VARIABLE, command_path

CLIENTS = 300
ANSWER_S = 5.0
# The options that Serve sets too.
OPTIONS = ("abortonclose", "splice-request", "splice-response")
CONFIG = """
global
    maxconn 1000
    nbthread 2
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
{options}
frontend clients
    bind 127.0.0.1:{front}
    default_backend replicas
backend replicas
    http-reuse always
    server replica 127.0.0.1:{back}
"""


class Server:
    """Answers late and not in a stream; counts who came, and who was answered though all have left."""

    def __init__(self) -> None:
        self.came = self.unnoticed = self.left = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.came += 1
        try:
            async with asyncio.timeout(ANSWER_S):
                while (await receive())["type"] != "http.disconnect":
                    pass
            self.left += 1
        except TimeoutError:
            self.unnoticed += 1
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})


async def until(found: Callable[[], bool]) -> None:
    async with asyncio.timeout(2 * ANSWER_S):
        while not found():  # noqa: ASYNC110  neither uvicorn nor HAProxy tells
            await asyncio.sleep(0.02)


@pytest.fixture
async def ports(tmp_path: Path) -> AsyncIterator[tuple[int, Server]]:
    """HAProxy's port, and the server behind it."""
    front, back = pick_free(2)
    server = Server()
    running = uvicorn.Server(uvicorn.Config(server, port=back, log_level="error", lifespan="off"))
    serving = asyncio.create_task(running.serve())
    await until(lambda: running.started)
    config = tmp_path / "haproxy.cfg"
    options = "\n".join(f"    option {option}" for option in OPTIONS)
    config.write_text(CONFIG.format(front=front, back=back, options=options))
    command = str(command_path())
    haproxy = await asyncio.create_subprocess_exec(command, "-db", "-f", str(config), env={BINARY_VARIABLE: command})
    async with asyncio.timeout(10):
        while True:
            with suppress(OSError):
                (await asyncio.open_connection("127.0.0.1", front))[1].close()
                break
            await asyncio.sleep(0.05)
    yield front, server
    haproxy.terminate()
    await haproxy.wait()
    running.should_exit = True
    await serving


async def test_every_client_that_leaves_is_noticed(ports: tuple[int, Server]) -> None:
    front, server = ports
    chance = random.Random(3)

    async def visit(client: httpx.AsyncClient) -> None:
        await asyncio.sleep(chance.random() * 2)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05 + chance.random() * 0.5):
                await client.post(f"http://127.0.0.1:{front}/", json={"prompt": "x" * 200})

    limits = httpx.Limits(max_connections=CLIENTS)
    async with httpx.AsyncClient(timeout=60, limits=limits, trust_env=False) as client:
        await asyncio.gather(*(visit(client) for _ in range(CLIENTS)))
    await until(lambda: server.left + server.unnoticed == server.came)
    assert server.came > CLIENTS / 2
    assert server.unnoticed == 0


def test_serve_sets_the_options_that_are_tested() -> None:
    assert [option for option in OPTIONS if f"option {option}\n" not in HAPROXY_CONFIG_TEMPLATE] == []
