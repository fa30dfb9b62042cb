"""The load client against a small streaming ASGI server on a real port."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from indexer.errors import InputError, UnavailableError
from serve.bench.load import Load, Target, measure, requests_of, wait_until_answering
from serve.layers.http import read_body, send_error
from tests.serve.bench.test_stream import DONE, SPEAKER, event

GAP_S, FIRST_S = 0.004, 0.02
MODELS = {"base": "base", "adapter": "bench@1"}


@dataclass
class Server:
    """Streams as many tokens as asked for; refuses the first requests, and those of one model."""

    url: str
    refusals: int = 0
    status: int = 503
    refused: str = ""
    bodies: list[dict[str, object]] = field(default_factory=list)
    keys: set[bytes] = field(default_factory=set)
    inside: int = 0
    most: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = json.loads(await read_body(receive))
        self.keys.add(dict(scope["headers"])[b"authorization"])
        if self.refusals or body["model"] == self.refused:
            self.refusals -= 1
            await send_error(send, status=self.status, message="not now", code="unavailable")
            return
        self.bodies.append(body)
        self.inside += 1
        self.most = max(self.most, self.inside)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await asyncio.sleep(FIRST_S)
        pieces = [SPEAKER + event({"content": "a"}), *[event({"content": "b"})] * (body["max_tokens"] - 1)]
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(GAP_S)
        usage = {"choices": [], "usage": {"prompt_tokens": 33, "completion_tokens": body["max_tokens"]}}
        last = b"data: " + json.dumps(usage).encode() + b"\n\n" + DONE
        self.inside -= 1
        await send({"type": "http.response.body", "body": last})


@pytest.fixture
def server() -> Iterator[Server]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        app = Server(url=f"http://127.0.0.1:{listening.getsockname()[1]}")
        running = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield app
        running.should_exit = True
        thread.join(10)


def words(text: str) -> int:
    return len(text.split())


async def test_a_measurement(server: Server) -> None:
    load = Load(concurrency=(1, 4), input_tokens=12, output_tokens=5, repeats=1)
    told: list[str] = []
    target = Target(server.url, "k", MODELS)
    runs = await measure(target, load, count_tokens=words, tell=told.append)
    assert [(run.traffic, run.concurrency) for run in runs] == [
        ("base", 1),
        ("base", 4),
        ("adapter", 1),
        ("adapter", 4),
    ]
    for run in runs:
        assert (run.figures.completed, run.figures.failed) == (requests_of(run.concurrency), 0)
        assert run.figures.total_output_tokens == 5 * run.figures.completed
        assert FIRST_S * 1000 <= run.figures.median_ttft_ms < FIRST_S * 1000 + 40
        assert GAP_S * 1000 <= run.figures.median_tpot_ms < GAP_S * 1000 + 10
    assert runs[1].figures.output_throughput > 2 * runs[0].figures.output_throughput
    assert server.most == 4
    assert server.keys == {b"Bearer k"}
    assert {body["model"] for body in server.bodies} == set(MODELS.values())
    prompts = [body["messages"][0]["content"] for body in server.bodies]  # type: ignore[index]
    assert len(set(prompts)) == len(prompts)
    assert {words(prompt) for prompt in prompts} == {12}
    assert all(body["ignore_eos"] and body["stream"] for body in server.bodies)
    assert told[0] == "base traffic, 1 at once: warming up"


async def test_refusals_are_counted_with_what_they_said(server: Server) -> None:
    server.refused = "base"
    load = Load(concurrency=(2,), input_tokens=4, output_tokens=2, repeats=1)
    [run] = await measure(Target(server.url, "k", {"base": "base"}), load, count_tokens=words, tell=lambda _: None)
    assert (run.figures.completed, run.figures.failed) == (0, 30)
    [(error, count)] = run.errors.items()
    assert count == 30
    assert error.startswith("HTTP 503: ")
    assert "not now" in error


async def test_waiting_for_a_server_that_is_not_ready(server: Server) -> None:
    server.refusals = 2
    await wait_until_answering(Target(server.url, "k", MODELS), limit_s=20)
    assert [body["model"] for body in server.bodies] == list(MODELS.values())


async def test_waiting_ends_where_it_is_in_vain(server: Server) -> None:
    server.refused, server.status = "bench@1", 400
    with pytest.raises(UnavailableError, match=r"No token came from 'bench@1' at http://127.0.0.1:\d+: HTTP 400"):
        await wait_until_answering(Target(server.url, "k", MODELS), limit_s=20)
    server.status = 503
    with pytest.raises(UnavailableError, match="HTTP 503"):
        await wait_until_answering(Target(server.url, "k", MODELS), limit_s=0)
    with pytest.raises(UnavailableError, match=r"^it ended$"):
        await wait_until_answering(Target(server.url, "k", MODELS), limit_s=20, problem=lambda: "it ended")


async def test_a_server_that_is_away(server: Server) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(UnavailableError, match="No token came"):
        await wait_until_answering(Target(away, "k", MODELS), limit_s=0)


@pytest.mark.parametrize("url", ["http://10.0.0.1:8000", "https://api.openai.com", "http://0.0.0.0:1", "nonsense"])
def test_no_other_machine_is_loaded(url: str) -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1"):
        Target(url, "k", MODELS)


def test_requests_of_a_run_are_bounded() -> None:
    assert [requests_of(concurrency) for concurrency in (1, 6, 16, 64, 1000)] == [30, 30, 80, 320, 480]
