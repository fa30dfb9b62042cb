"""What retrieval in the graph costs beyond its work, on Perl's FAQ.

The engine is the tiny one of `tests/stack.py` behind HAProxy. No two requests ask the same, no vector is remembered and
no prompt lies in the engine's prefix cache.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import httpx
import openai
import pytest

from indexer.embedding.embedder import Embedder
from indexer.embedding.files import EMBEDDED_NAME
from tests.indexer.parsers.test_pod import NEEDS_PERL_DOC, PERL_DOC
from tests.perl_faq import faq_questions
from tests.serve.test_app import wait_for_models
from tests.stack import DEFAULTS, PARSERS, Stack, build_tiny_adapter, start_stack

pytestmark = [pytest.mark.bench, NEEDS_PERL_DOC, pytest.mark.timeout(1800)]

ENGINE = {"max_model_len": 1024, "enforce_eager": True, "dtype": "float32", "max_num_seqs": 8, **PARSERS}
AT_ONCE = 16
ALONE, TOGETHER = 60, 240
ADAPTERS = 12  # cold ones, on two slots
WARM_UP = 5
# Milliseconds that a search may take beyond its work, by where the retriever is.
BEYOND_MS = {"deployment": 10.0, "in_process": 3.0}


@dataclass(frozen=True, slots=True)
class Timing:
    """One answer of POST /v1/retrieve, in milliseconds: seen by the client, of the retrieval, and of its two stages."""

    client: float
    retrieval: float
    embed: float
    search: float

    @property
    def beyond(self) -> float:
        """What the retrieval took beside encoding and the store."""
        return self.retrieval - self.embed - self.search


@dataclass(frozen=True, slots=True)
class Started:
    """The beginning of one streamed answer, in milliseconds: its first text, and what came before the engine."""

    first_text: float
    retrieval: float
    adapter: float


@pytest.fixture(scope="module", params=BEYOND_MS)
def place(request: pytest.FixtureRequest) -> str:
    """Where the retriever is."""
    return str(request.param)


@pytest.fixture(scope="module")
def faq_stack(place: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("faq")
    engine = {**ENGINE, "enable_prefix_caching": False}
    stack = start_stack(folder, haproxy=True, retriever=place, retriever_cache=0, engine=engine)
    try:
        documents = folder / "faq"
        documents.mkdir()
        for path in sorted(PERL_DOC[0].glob("perlfaq[1-9].pod")):
            shutil.copy(path, documents)
        stack.run("index", str(documents), "--collection", "faq")
        retrieval = {"k": 4, "max_context_tokens": 512}
        for number in range(ADAPTERS):
            adapter = build_tiny_adapter(folder / "tiny-base", folder / f"cold-{number}", seed=100 + number)
            stack.run("adapters", "import", str(adapter), "--name", f"cold{number}")
            apply(
                stack,
                {"name": f"both{number}", "adapter": f"cold{number}@1", "collection": "faq", "retrieval": retrieval},
            )
        apply(stack, {"name": "faq", "collection": "faq", "retrieval": retrieval})
        assert "faq" in wait_for_models(stack, "faq", f"both{ADAPTERS - 1}")
        yield stack
    finally:
        stack.run("down")


def apply(stack: Stack, specialist: dict[str, object]) -> None:
    path = stack.home / f"{specialist['name']}.json"
    path.write_text(json.dumps({**specialist, "generation_defaults": DEFAULTS}))
    stack.run("specialists", "apply", str(path))


def test_what_a_search_costs_beyond_its_work(faq_stack: Stack, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    questions = numbered_questions()
    alone, alone_s = asyncio.run(ask(faq_stack, questions, count=ALONE, at_once=1))
    together, together_s = asyncio.run(ask(faq_stack, questions, count=TOGETHER, at_once=AT_ONCE))
    rate, rate_together = ALONE / alone_s, TOGETHER / together_s
    stages = ("client", "retrieval", "embed", "search", "beyond")
    with capsys.disabled():
        print(f"\n\nPOST /v1/retrieve, retriever: {place}, {os.cpu_count()} CPUs; milliseconds, medians")
        for at_once, timings, per_s in ((1, alone, rate), (AT_ONCE, together, rate_together)):
            medians = [f"{stage} {statistics.median(getattr(each, stage) for each in timings):.1f}" for stage in stages]
            print(f"at once {at_once:>2}: {' '.join(medians)}; {per_s:.1f} searches/s")
        print(f"searches/s at {AT_ONCE} against one by one: {rate_together / rate:.2f}")
    assert statistics.median(each.beyond for each in alone) <= BEYOND_MS[place]
    assert rate_together >= 2 * rate


def test_encoding_many_questions_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    embedder = Embedder(EMBEDDED_NAME)
    questions = list(itertools.islice(numbered_questions(), 4 * AT_ONCE))
    embedder.encode_queries(questions[:AT_ONCE])
    began = time.perf_counter()
    for question in questions:
        embedder.encode_queries([question])
    one_by_one = time.perf_counter() - began
    began = time.perf_counter()
    for start in range(0, len(questions), AT_ONCE):
        embedder.encode_queries(questions[start : start + AT_ONCE])
    together = time.perf_counter() - began
    with capsys.disabled():
        print(
            f"\n\nencode: {one_by_one / len(questions) * 1000:.1f} ms alone, {together / 4 * 1000:.1f} ms for {AT_ONCE}"
        )
        print(f"questions/s at {AT_ONCE} against one by one: {one_by_one / together:.2f}")
    assert one_by_one / together >= 4


def test_a_cold_adapter_and_a_search_cost_the_longer_of_the_two(
    faq_stack: Stack, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cold, warm = asyncio.run(start_answers(faq_stack))
    over = [
        first.first_text - (again.first_text - again.retrieval) - max(first.adapter, first.retrieval)
        for first, again in zip(cold, warm, strict=True)
    ]
    with capsys.disabled():
        print(f"\n\nFirst text, retriever: {place}, milliseconds, medians of {ADAPTERS}")
        for name, started in (("cold", cold), ("warm", warm)):
            medians = [
                f"{part} {statistics.median(getattr(each, part) for each in started):.1f}"
                for part in ("first_text", "retrieval", "adapter")
            ]
            print(f"{name}: {', '.join(medians)}")
        print(f"cold beyond warm without its search and the longer of load and search: {statistics.median(over):.1f}")
    assert statistics.median(over) <= 10.0


def numbered_questions() -> Iterator[str]:
    """The FAQ's questions without end, none of them twice."""
    questions = [question.text for question in faq_questions(PERL_DOC[0])]
    for number, question in zip(itertools.count(1), itertools.cycle(questions), strict=False):
        yield f"{question} ({number})"


async def ask(stack: Stack, questions: Iterator[str], *, count: int, at_once: int) -> tuple[list[Timing], float]:
    """Ask for passages, so many at once; what each took, and the seconds of all."""
    timings: list[Timing] = []
    async with httpx.AsyncClient(base_url=stack.url, timeout=60, trust_env=False) as client:

        async def one() -> Timing:
            began = time.perf_counter()
            answer = await client.post("/v1/retrieve", json={"model": "faq", "query": next(questions)})
            taken = (time.perf_counter() - began) * 1000
            told = answer.raise_for_status().json()["timings"]
            return Timing(taken, told["retrieval_ms"], told["embed_ms"], told["search_ms"])

        async def worker(share: int) -> None:
            for _ in range(share):
                timings.append(await one())

        await asyncio.gather(*(worker(WARM_UP) for _ in range(at_once)))
        timings.clear()
        began = time.perf_counter()
        await asyncio.gather(*(worker(count // at_once) for _ in range(at_once)))
        return timings, time.perf_counter() - began


async def start_answers(stack: Stack) -> tuple[Sequence[Started], Sequence[Started]]:
    """Two answers of each specialist, its adapter loaded by the first of them."""
    cold, warm = [], []
    questions = numbered_questions()
    async with stack.async_client as client:
        for _ in range(WARM_UP):
            await start_answer(client, model="faq", question=next(questions))
        for number in range(ADAPTERS):
            question = next(questions)
            cold.append(await start_answer(client, model=f"both{number}", question=question))
            warm.append(await start_answer(client, model=f"both{number}", question=question))
    return cold, warm


async def start_answer(client: openai.AsyncOpenAI, *, model: str, question: str) -> Started:
    began = time.perf_counter()
    first: float | None = None
    timings: dict[str, float] = {}
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        stream=True,
        extra_body={"ignore_eos": True},
    )
    async for chunk in stream:
        if first is None and any(choice.delta.content for choice in chunk.choices):
            first = (time.perf_counter() - began) * 1000
        timings |= (chunk.model_extra or {}).get("graftwork", {}).get("timings", {})
    assert first is not None
    return Started(first, timings["retrieval_ms"], timings.get("adapter_ms", 0.0))
