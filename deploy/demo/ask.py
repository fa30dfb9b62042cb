"""Asks the same questions of all four specialists through the official OpenAI client: streaming, several at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import httpx
import openai
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel, ConfigDict, ValidationError

from deploy.demo import recipe
from deploy.demo.questions import Question

REQUEST_TIMEOUT_S = 120.0


class Source(BaseModel):
    """One passage that the model was given, as the answer's `graftwork.citations` names it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    n: int
    document: str
    title: str
    heading: str
    uri: str
    cited: bool


class _Extension(BaseModel):
    model_config = ConfigDict(extra="ignore")

    adapter: str | None
    citations: tuple[Source, ...]
    invalid_markers: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What one specialist said to one question, or why it did not.

    Attributes:
        question_id: The question.
        specialist: Model name that was called.
        text: The answer; empty on failure.
        ttft_s: Seconds from sending the request to the first text; None where none came.
        seconds: Seconds to the end of the stream.
        completion_tokens: Tokens generated.
        counted_by: Whether the server's usage or the stream's chunks gave that number.
        sources: Passages that the model was given.
        adapter: Adapter version that answered.
        invalid_markers: Citation markers that point at no passage.
        error: Why there is no answer.
    """

    question_id: str
    specialist: str
    text: str
    ttft_s: float | None
    seconds: float
    completion_tokens: int
    counted_by: Literal["usage", "chunks"]
    sources: tuple[Source, ...]
    adapter: str | None
    invalid_markers: int
    error: str | None = None

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens per second after the first one; None for fewer than two tokens."""
        if self.ttft_s is None or self.completion_tokens < 2 or self.seconds <= self.ttft_s:
            return None
        return (self.completion_tokens - 1) / (self.seconds - self.ttft_s)


async def ask_all(
    client: AsyncOpenAI,
    questions: Sequence[Question],
    *,
    specialists: Sequence[str],
    concurrency: int,
    budget_s: float,
    progress: Callable[[int], None],
) -> tuple[Answer, ...]:
    """Ask until the questions or the budget are at their end.

    A question that was begun is asked of all specialists, and none is begun that would likely end after the budget.

    Args:
        client: The OpenAI client.
        questions: In the order to ask them.
        specialists: Model names; the one asked first changes from question to question.
        concurrency: Requests under way at a time.
        budget_s: Seconds that all answers may take.
        progress: Told after each answer how many there are.
    """
    begun = time.monotonic()
    jobs = _jobs(questions, specialists)
    waiting: list[tuple[Question, str]] = []
    answers: list[Answer] = []

    def next_job() -> tuple[Question, str] | None:
        likely = sum(answer.seconds for answer in answers) / len(answers) if answers else 0.0
        # Its last answer is begun when its others are under way, so that a question takes about two answers' time.
        if not waiting and time.monotonic() - begun + 2 * likely < budget_s:
            waiting.extend(next(jobs, ()))
        return waiting.pop(0) if waiting else None

    async def work() -> None:
        while (job := next_job()) is not None:
            answers.append(await ask(client, job[0], specialist=job[1]))
            progress(len(answers))

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())
    return tuple(answers)


async def ask(client: AsyncOpenAI, question: Question, *, specialist: str) -> Answer:
    """Ask one question of one specialist; a refused or broken request is an answer with its error."""
    collected = _Collected()
    begun = time.perf_counter()
    error: str | None = None
    try:
        stream = await client.chat.completions.create(
            model=specialist,
            messages=[{"role": "user", "content": question.question}],
            temperature=0,
            max_tokens=recipe.MAX_NEW_TOKENS,
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            collected.take(chunk, seconds=time.perf_counter() - begun)
    except (openai.OpenAIError, httpx.HTTPError) as problem:
        error = _reason(problem)
    except ValidationError as problem:
        error = f"the answer's graftwork object does not have its form: {problem.errors()[0]['msg']}"
    seconds = collected.last_s or time.perf_counter() - begun
    extension = collected.extension
    return Answer(
        question_id=question.id,
        specialist=specialist,
        text="".join(collected.pieces).strip(),
        ttft_s=collected.first_s,
        seconds=seconds,
        completion_tokens=collected.pieces_count if collected.usage is None else collected.usage,
        counted_by="chunks" if collected.usage is None else "usage",
        sources=extension.citations if extension else (),
        adapter=extension.adapter if extension else None,
        invalid_markers=extension.invalid_markers if extension else 0,
        error=error or (None if extension else "the stream carried no graftwork object"),
    )


def _reason(error: Exception) -> str:
    cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
    return " ".join(f"{str(error) or type(error).__name__}{cause}".split())[:300]


class _Collected:
    """What a stream gave so far."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.first_s: float | None = None
        self.last_s: float | None = None
        self.usage: int | None = None
        self.extension: _Extension | None = None

    @property
    def pieces_count(self) -> int:
        return len(self.pieces)

    def take(self, chunk: ChatCompletionChunk, *, seconds: float) -> None:
        for choice in chunk.choices:
            if choice.delta.content:
                self.first_s = seconds if self.first_s is None else self.first_s
                self.last_s = seconds
                self.pieces.append(choice.delta.content)
        if chunk.usage is not None:
            self.usage = chunk.usage.completion_tokens
        extra = (chunk.model_extra or {}).get("graftwork")
        if extra is not None:
            self.extension = _Extension.model_validate(extra)


def _jobs(questions: Sequence[Question], specialists: Sequence[str]) -> Iterator[list[tuple[Question, str]]]:
    for index, question in enumerate(questions):
        turn = index % len(specialists)
        yield [(question, name) for name in (*specialists[turn:], *specialists[:turn])]
