"""Asking, with the real OpenAI client over a transport that answers as the app does."""

from __future__ import annotations

import asyncio
import json
import time

import httpx
import pytest
from openai import AsyncOpenAI

from deploy.demo.ask import ask, ask_all
from deploy.demo.questions import Question

GRAFTWORK = {
    "specialist": "demo-both",
    "adapter": "demo@1",
    "collection": "demo",
    "generation": 1,
    "citations": [
        {
            "n": number,
            "chunk_id": f"c{number}",
            "document": f"corpus/{number}.md",
            "title": "T",
            "heading": "H",
            "uri": "file:///x",
            "score": 0.5,
            "cited": number == 2,
        }
        for number in (1, 2)
    ],
    "invalid_markers": 1,
    "timings": {},
}


def question(number=1):
    return Question(
        id=f"q{number}",
        question="When?",
        answer="Now.",
        must_include=("now",),
        sources=("2.md",),
        kind="single",
        split="test",
    )


def event(choices=(), **fields):
    chunk = {
        "id": "x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": list(choices),
        **fields,
    }
    return f"data: {json.dumps(chunk)}\n\n".encode()


def delta(text):
    return event([{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}])


USAGE = event(usage={"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16})
EXTENSION = event(graftwork=GRAFTWORK)
DONE = b"data: [DONE]\n\n"


class App(httpx.AsyncBaseTransport):
    """Streams given events; remembers the requests and how many ran at a time."""

    def __init__(self, events, *, status=200, pause_s=0.0):
        self.events, self.status, self.pause_s = events, status, pause_s
        self.bodies, self.running, self.most = [], 0, 0

    async def handle_async_request(self, request):
        self.bodies.append(json.loads(request.content))
        if self.status != 200:
            return httpx.Response(self.status, json={"error": {"message": "The model 'm' does not exist."}})
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=self._stream())

    async def _stream(self):
        self.running += 1
        self.most = max(self.most, self.running)
        for piece in self.events:
            await asyncio.sleep(self.pause_s)
            if isinstance(piece, Exception):
                raise piece
            self.running -= piece is DONE  # The client reads no further than this.
            yield piece


def client_of(app):
    return AsyncOpenAI(
        base_url="http://app/v1", api_key="x", max_retries=0, http_client=httpx.AsyncClient(transport=app)
    )


async def test_an_answer_with_usage_sources_and_times():
    app = App([delta(""), delta(" It"), delta(" is now [2]."), USAGE, EXTENSION, DONE], pause_s=0.02)
    answer = await ask(client_of(app), question(), specialist="demo-both")
    assert answer.error is None
    assert (answer.text, answer.completion_tokens, answer.counted_by) == ("It is now [2].", 7, "usage")
    assert [source.cited for source in answer.sources] == [False, True]
    assert (answer.adapter, answer.invalid_markers) == ("demo@1", 1)
    assert 0.04 <= answer.ttft_s < answer.seconds
    assert answer.tokens_per_s == pytest.approx(6 / (answer.seconds - answer.ttft_s))


async def test_the_request_is_greedy_short_streamed_and_counted():
    app = App([delta("Now."), USAGE, EXTENSION, DONE])
    await ask(client_of(app), question(), specialist="demo-base")
    (body,) = app.bodies
    assert body["model"] == "demo-base"
    assert body["messages"] == [{"role": "user", "content": "When?"}]
    assert (body["temperature"], body["max_tokens"], body["stream"]) == (0, 48, True)
    assert body["stream_options"] == {"include_usage": True}


async def test_without_usage_chunks_are_counted():
    answer = await ask(client_of(App([delta("a"), delta("b"), EXTENSION, DONE])), question(), specialist="m")
    assert (answer.completion_tokens, answer.counted_by) == (2, "chunks")


async def test_one_token_has_no_speed():
    answer = await ask(client_of(App([delta("a"), EXTENSION, DONE])), question(), specialist="m")
    assert answer.tokens_per_s is None


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        (App([], status=404), "does not exist"),
        (App([delta("a"), httpx.ReadError("cut off")]), "cut off"),
        (App([delta("a"), DONE]), "no graftwork object"),
        (App([event(graftwork={"adapter": None}), DONE]), "does not have its form"),
    ],
)
async def test_what_goes_wrong_is_the_answers_error(app, reason):
    answer = await ask(client_of(app), question(), specialist="m")
    assert reason in answer.error


async def run_all(app, count, *, budget_s=60.0, concurrency=4):
    seen = []
    answers = await ask_all(
        client_of(app),
        [question(number) for number in range(count)],
        specialists=["a", "b", "c", "d"],
        concurrency=concurrency,
        budget_s=budget_s,
        progress=seen.append,
    )
    return answers, seen


async def test_all_questions_are_asked_of_all_specialists_several_at_once():
    app = App([delta("a"), EXTENSION, DONE], pause_s=0.01)
    answers, seen = await run_all(app, 6)
    assert {(a.question_id, a.specialist) for a in answers} == {(f"q{n}", s) for n in range(6) for s in "abcd"}
    assert seen == list(range(1, 25))
    assert app.most == 4


async def test_no_specialist_is_always_asked_first():
    app = App([delta("a"), EXTENSION, DONE])
    await run_all(app, 4, concurrency=1)
    assert [body["model"] for body in app.bodies[::4]] == ["a", "b", "c", "d"]


async def test_over_budget_begun_questions_are_finished_and_no_more_begun():
    app = App([delta("a"), EXTENSION, DONE], pause_s=0.02)
    begun = time.monotonic()
    answers, _ = await run_all(app, 500, budget_s=1.0)
    assert time.monotonic() - begun < 5
    asked = {answer.question_id for answer in answers}
    assert 1 <= len(asked) < 500
    assert len(answers) == 4 * len(asked)


async def test_no_question_is_begun_that_would_likely_end_after_the_budget():
    app = App([delta("a"), delta("b"), EXTENSION, DONE], pause_s=0.2)
    answers, _ = await run_all(app, 500, budget_s=1.0)
    assert {answer.question_id for answer in answers} == {"q0"}
