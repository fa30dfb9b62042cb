"""How long the first text of an answer takes: base, retrieval and adapter, alone and eight at once.

The engine is the tiny one of `tests/stack.py` behind HAProxy, so what is measured is the road around a model: ingress,
routing, name, adapter, embedding, Milvus, prompt, the engine's scheduling. No two requests ask the same; what their
prompts have in common lies in the engine's prefix cache after the warm-up, as it does in practice.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import openai
import pytest

from tests.serve.test_app import wait_for_models
from tests.stack import Stack

pytestmark = pytest.mark.bench

MODELS = ("base", "retrieval", "adapter")
QUESTIONS = (
    "How long is the hawser of the north berth?",
    "Which oil does the red lamp burn?",
    "When does the ferry not cross?",
)
WARM_UP = 5
# Requests sent at once -> how often. Thirty single ones and eighty in eights, for every model.
ROUNDS = {1: 30, 8: 10}
MAX_TOKENS = 8

Samples = dict[tuple[str, int], list[float]]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, in milliseconds; `quartiles` hold the middle half of the samples between them."""

    model: str
    at_once: int
    n: int
    median: float
    quartiles: tuple[float, float]


def test_time_to_first_token(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(MODELS) <= wait_for_models(stack, *MODELS)
    rows = summarise(asyncio.run(measure(stack, models=MODELS, rounds=ROUNDS)))
    with capsys.disabled():
        print(f"\n\nMilliseconds from a request to the first text of its answer, {os.cpu_count()} CPUs")
        print(table(rows))
    assert [(row.model, row.at_once) for row in rows] == list(itertools.product(MODELS, ROUNDS))


async def measure(stack: Stack, *, models: Sequence[str], rounds: Mapping[int, int]) -> Samples:
    """Milliseconds by model and number of requests at once; in turns, so that a drift of the machine hits all alike."""
    samples: Samples = {key: [] for key in itertools.product(models, rounds)}
    questions = numbered_questions()
    async with stack.async_client as client:
        for model in models:
            for at_once in (*[1] * WARM_UP, *rounds):
                await ask_at_once(client, model=model, questions=questions, count=at_once)
        for at_once, count in rounds.items():
            for turn in range(count):
                for model in (*models[turn % len(models) :], *models[: turn % len(models)]):
                    taken = await ask_at_once(client, model=model, questions=questions, count=at_once)
                    samples[model, at_once] += taken
    return samples


def numbered_questions() -> Iterator[str]:
    """Questions without end, none of them twice."""
    for number, question in zip(itertools.count(1), itertools.cycle(QUESTIONS), strict=False):
        yield f"{number}. {question}"


async def ask_at_once(client: openai.AsyncOpenAI, *, model: str, questions: Iterator[str], count: int) -> list[float]:
    """Send that many requests at the same time and wait for the end of all; those without any text are left out."""
    requests = [first_text_ms(client, model=model, question=next(questions)) for _ in range(count)]
    return [taken for taken in await asyncio.gather(*requests) if taken is not None]


async def first_text_ms(client: openai.AsyncOpenAI, *, model: str, question: str) -> float | None:
    """Milliseconds from the request to the first text; the stream is read to its end, so that nothing is cancelled."""
    begun = time.perf_counter()
    first: float | None = None
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        stream=True,
        temperature=0,
        max_tokens=MAX_TOKENS,
        extra_body={"ignore_eos": True},
    )
    async for chunk in stream:
        if first is None and any(choice.delta.content for choice in chunk.choices):
            first = (time.perf_counter() - begun) * 1000
    return first


def summarise(samples: Samples) -> list[Row]:
    """Medians and quartiles, in the order of the samples; a model that never gave text has no row."""
    rows = []
    for (model, at_once), taken in samples.items():
        if len(taken) > 1:
            low, median, high = statistics.quantiles(taken, n=4, method="inclusive")
            rows.append(Row(model, at_once, len(taken), median, (low, high)))
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as text."""
    lines = [f"{'model':<12}{'at once':>8}{'n':>6}{'median':>10}   middle half"]
    for row in rows:
        low, high = row.quartiles
        lines.append(f"{row.model:<12}{row.at_once:>8}{row.n:>6}{row.median:>10.1f}   {low:.1f} to {high:.1f}")
    return "\n".join(lines)
