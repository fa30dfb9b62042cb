"""Behind Serve's ordinary proxy, the development fallback: ten answers as behind HAProxy, and a machine that goes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.serve.test_app import QUESTION, answer_of, wait_for_models
from tests.stack import Stack, start_stack

pytestmark = [pytest.mark.slow, pytest.mark.long]

STOP_FILE, GRACE_S = "stopping", 4.0


@pytest.fixture(scope="module")
def plain_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("plain")
    stack = start_stack(folder, haproxy=False, stop_file=str(folder / STOP_FILE), shutdown_grace_s=GRACE_S)
    yield stack
    stack.run("down")


def test_models(plain_stack: Stack) -> None:
    assert {"base", "both", "ropes@1"} <= wait_for_models(plain_stack, "base", "both", "ropes@1")


def test_one_model(plain_stack: Stack) -> None:
    assert plain_stack.client.models.retrieve("both").id == "both"


def test_health(plain_stack: Stack) -> None:
    assert plain_stack.http.get("/healthz").json() == {"status": "ok"}


def test_base(plain_stack: Stack) -> None:
    completion = plain_stack.client.chat.completions.create(model="base", messages=QUESTION, max_tokens=4)
    assert answer_of(completion) == {}


def test_retrieval(plain_stack: Stack) -> None:
    answer = answer_of(plain_stack.client.chat.completions.create(model="retrieval", messages=QUESTION))
    assert answer["citations"][0]["uri"].endswith("ropes.md")


def test_adapter(plain_stack: Stack) -> None:
    answer = answer_of(plain_stack.client.chat.completions.create(model="adapter", messages=QUESTION))
    assert answer["adapter"] == "ropes@1"


def test_both_in_a_stream(plain_stack: Stack) -> None:
    chunks = list(plain_stack.client.chat.completions.create(model="both", messages=QUESTION, stream=True))
    assert answer_of(chunks[-1])["adapter"] == "ropes@2"


def test_unknown_model(plain_stack: Stack) -> None:
    with pytest.raises(openai.NotFoundError, match="'nobody' does not exist"):
        plain_stack.client.chat.completions.create(model="nobody", messages=QUESTION)


def test_completions(plain_stack: Stack) -> None:
    completion = plain_stack.client.completions.create(model="ropes@2", prompt="The rope", max_tokens=4)
    assert completion.model == "ropes@2"


def test_bad_body(plain_stack: Stack) -> None:
    assert plain_stack.http.post("/v1/chat/completions", content=b"{").status_code == 400


async def test_streams_end_whole_or_are_told_where_the_machine_goes(plain_stack: Stack) -> None:
    """The last one here: the replica takes no requests afterwards."""
    async with httpx.AsyncClient(base_url=plain_stack.url, timeout=60, trust_env=False) as client:
        begun = asyncio.Event()

        async def stream(**limits: object) -> list[str]:
            body = {
                "model": "base",
                "messages": QUESTION,
                "stream": True,
                "ignore_eos": True,
                **limits,
            }
            async with client.stream("POST", "/v1/chat/completions", json=body) as response:
                assert response.status_code == 200
                lines = []
                async for line in response.aiter_lines():
                    begun.set()
                    lines.append(line)
            return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

        assert (await client.get("/readyz")).status_code == 200
        short = asyncio.create_task(stream(max_tokens=8))
        # The engine takes eight sequences at once, so that these are far more than there is time for.
        long = [asyncio.create_task(stream(max_tokens=900, n=8)) for _ in range(12)]
        await begun.wait()
        await asyncio.sleep(0.3)
        (plain_stack.home / STOP_FILE).touch()
        await asyncio.sleep(1.0)
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["error"]["code"]) == (503, "draining")
        late = await client.post("/v1/chat/completions", json={"model": "base", "messages": QUESTION})
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        assert late.json()["error"]["code"] == "draining"
        assert not any(task.done() for task in long)
        whole, cut = await short, await asyncio.gather(*long)
    assert whole[-1] == "[DONE]"
    assert any('"finish_reason":"length"' in event for event in whole)
    for events in cut:
        assert events[-1] == "[DONE]"
        assert any("shutting_down" in event or '"finish_reason":"length"' in event for event in events[-3:])
    assert any("shutting_down" in event for events in cut for event in events)
