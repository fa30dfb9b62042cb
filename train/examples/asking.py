"""Asks an OpenAI-compatible endpoint: so many requests at once, nothing twice, and not on and on where all fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

import httpx
import openai
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from pydantic import JsonValue

from indexer.errors import GraftworkError, InputError, NotFoundError, UnavailableError
from train.examples.journal import Key, Reply, digest
from train.examples.request import Endpoint
from train.examples.teacher import Ask, Books
from train.examples.types import Stage


class _NoAnswerError(Exception):
    """The endpoint answered, but not with an answer."""


class Asker:
    """Asks one endpoint for one run."""

    def __init__(self, endpoint: Endpoint, *, books: Books, fields: dict[str, JsonValue]) -> None:
        """Connect later.

        Args:
            endpoint: Where to ask, and how often.
            books: What is known already, and where what comes is kept and counted.
            fields: Of every request, besides model and messages.
        """
        self._endpoint = endpoint
        self._books = books
        self._fields = fields
        self._in_a_row = 0
        self.last_failure = ""

    def ask_all(self, stage: Stage, asks: Sequence[Ask], *, progress: Callable[[int], None]) -> list[Reply | None]:
        """Return what came for each request, in their order; None for one that failed after its retries.

        Raises:
            UnavailableError: So many failed in a row that the others are not tried, or the endpoint takes no key.
            NotFoundError: It has no such model or address.
        """
        return asyncio.run(self._ask_all(stage, asks, progress=progress))

    async def _ask_all(
        self, stage: Stage, asks: Sequence[Ask], *, progress: Callable[[int], None]
    ) -> list[Reply | None]:
        replies: list[Reply | None] = [None] * len(asks)
        waiting = iter(enumerate(asks))
        done = 0
        endpoint = self._endpoint
        client = AsyncOpenAI(
            base_url=endpoint.url,
            api_key=endpoint.api_key,
            max_retries=endpoint.retries,
            timeout=endpoint.timeout_s,
        )

        async def work() -> None:
            nonlocal done
            for place, ask in waiting:
                replies[place] = await self._ask(client, stage, ask)
                done += 1
                progress(done)

        try:
            async with client, asyncio.TaskGroup() as group:
                for _ in range(min(endpoint.concurrency, len(asks))):
                    group.create_task(work())
        except ExceptionGroup as failed:
            ours = next((error for error in failed.exceptions if isinstance(error, GraftworkError)), None)
            raise ours or failed.exceptions[0] from failed
        return replies

    async def _ask(self, client: AsyncOpenAI, stage: Stage, ask: Ask) -> Reply | None:
        sent = cast(list[JsonValue], [dict(message) for message in ask.messages])
        request: dict[str, JsonValue] = {"model": self._endpoint.model, "messages": sent, **self._fields}
        key = Key(stage, ask.chunk, ask.question, digest(request))
        if (known := self._books.remembered(key)) is not None:
            return known
        try:
            completion = await client.chat.completions.create(
                model=self._endpoint.model,
                messages=cast(list[ChatCompletionMessageParam], sent),
                extra_body=dict(self._fields),
            )
            reply = _read(completion, key)
        except (openai.OpenAIError, httpx.HTTPError, ValueError, _NoAnswerError) as error:
            self._failed(stage, error)
            return None
        self._in_a_row = 0
        self._books.count(reply)
        await asyncio.to_thread(self._books.journal.keep, reply)
        return reply

    def _failed(self, stage: Stage, error: Exception) -> None:
        self.last_failure = sentence(error)
        self._books.costs.failed(stage)
        self._in_a_row += 1
        url, model = self._endpoint.url, self._endpoint.model
        match error:
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                raise UnavailableError(
                    f"{url} does not take the key ({self.last_failure}); name its variable with --api-key-env."
                ) from error
            case openai.NotFoundError():
                raise NotFoundError(
                    f"{url} knows no model {model!r}, or is no OpenAI endpoint: {self.last_failure}."
                ) from error
        if self._in_a_row < self._endpoint.give_up_after:
            return
        kind = InputError if isinstance(error, openai.BadRequestError) else UnavailableError
        raise kind(
            f"{self._in_a_row} requests to {url} failed in a row, the last: {self.last_failure}; {self._books.kept}."
        )


def sentence(error: Exception) -> str:
    """Return what went wrong, in a line without its full stop."""
    told = str(error)
    if isinstance(error, openai.APIStatusError):
        body = error.body
        said = body.get("message") if isinstance(body, dict) else None
        told = f"HTTP {error.status_code}, {said or error.response.text or 'without a word'}"
    elif isinstance(error, openai.APITimeoutError):
        told = "no answer in time"
    elif isinstance(error, openai.APIConnectionError):
        told = f"it cannot be reached ({error.__cause__ or error})"
    elif not isinstance(error, _NoAnswerError):
        told = f"its answer cannot be read ({told or type(error).__name__})"
    return " ".join(told.split())[:300].rstrip(".")


def _read(completion: object, key: Key) -> Reply:
    """Read an answer, whatever the server sent: the client does not look at it.

    Raises:
        _NoAnswerError: There is no text in it.
    """
    if not isinstance(completion, ChatCompletion) or not completion.choices:
        raise _NoAnswerError("its answer is no chat completion")
    message = getattr(completion.choices[0], "message", None)
    text = getattr(message, "content", None)
    if not isinstance(text, str):
        raise _NoAnswerError("its answer has no text")
    usage = getattr(completion, "usage", None)
    return Reply(
        stage=key.stage,
        chunk=key.chunk,
        question=key.question,
        request=key.request,
        text=text.strip(),
        cut=completion.choices[0].finish_reason == "length",
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
    )


def _count(usage: object, name: str) -> int | None:
    found = getattr(usage, name, None)
    return found if isinstance(found, int) else None
