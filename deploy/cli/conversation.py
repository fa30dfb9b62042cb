"""Asks a specialist through the official OpenAI client, streaming, and reads the sources of its answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import openai
from openai import OpenAI

from deploy.local.api import api_key
from indexer.errors import ConflictError, GraftworkError, InputError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

REQUEST_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Source:
    """One passage that the model was given; `cited` if the answer carries [n]."""

    n: int
    title: str
    heading: str
    uri: str
    cited: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        text: The answer.
        first_token_ms: From the request to the first text; None where no text came.
        total_ms: From the request to the end of the stream.
        graftwork: The server's `graftwork` object as it came; empty where the server sent none.
        sources: Its citations.
        finish_reason: Why the model stopped: `stop`, or `length` at max_tokens.
    """

    text: str
    first_token_ms: float | None
    total_ms: float
    graftwork: Mapping[str, object] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    finish_reason: str | None = None


def ask(
    url: str,
    *,
    specialist: str,
    messages: Sequence[ChatCompletionMessageParam],
    max_tokens: int | None,
    on_text: Callable[[str], None],
) -> Answer:
    """Sends a conversation and hands every piece of text on as it comes.

    Args:
        url: The OpenAI endpoint, ending in /v1.
        specialist: Model name.
        messages: The conversation, the question last.
        max_tokens: Limit; None leaves it to the specialist.
        on_text: Called with each piece.

    Raises:
        NotFoundError: No such specialist.
        InputError: The server refuses the request, such as a question longer than the context.
        UnavailableError: The server cannot be reached or is overloaded.
    """
    pieces: list[str] = []
    first: float | None = None
    extension: Mapping[str, object] = {}
    finish: str | None = None
    begun = time.perf_counter()
    limit = {"max_tokens": max_tokens} if max_tokens else {}
    try:
        with OpenAI(base_url=url, api_key=api_key(), max_retries=0, timeout=REQUEST_TIMEOUT_S) as client:
            stream = client.chat.completions.create(
                model=specialist, messages=list(messages), stream=True, extra_body=limit
            )
            for chunk in stream:
                extension = (chunk.model_extra or {}).get("graftwork") or extension
                for choice in chunk.choices:
                    finish = choice.finish_reason or finish
                    if choice.delta.content:
                        first = time.perf_counter() if first is None else first
                        pieces.append(choice.delta.content)
                        on_text(choice.delta.content)
    except openai.OpenAIError as error:
        raise translate(error, url=url) from error
    return Answer(
        text="".join(pieces).strip(),
        first_token_ms=None if first is None else (first - begun) * 1000,
        total_ms=(time.perf_counter() - begun) * 1000,
        graftwork=extension,
        sources=read_sources(extension),
        finish_reason=finish,
    )


def read_sources(extension: Mapping[str, object]) -> tuple[Source, ...]:
    """The citations of a `graftwork` object."""
    citations = extension.get("citations")
    return tuple(
        Source(
            n=int(entry["n"]),
            title=str(entry.get("title") or ""),
            heading=str(entry.get("heading") or ""),
            uri=str(entry.get("uri") or ""),
            cited=bool(entry.get("cited")),
        )
        for entry in (citations if isinstance(citations, list) else [])
    )


def translate(error: openai.OpenAIError, *, url: str) -> GraftworkError:
    """Our error for one of the client's, with the server's own sentence."""
    match error:
        case openai.NotFoundError():
            return NotFoundError(server_sentence(error))
        case openai.BadRequestError() | openai.UnprocessableEntityError() | openai.RateLimitError():
            kind = UnavailableError if isinstance(error, openai.RateLimitError) else InputError
            return kind(server_sentence(error))
        case openai.ConflictError():
            return ConflictError(server_sentence(error))
        case openai.APIStatusError():
            return UnavailableError(f"The server answered HTTP {error.status_code}: {server_sentence(error)}")
        case openai.APITimeoutError():
            return UnavailableError(f"{url} did not answer within {REQUEST_TIMEOUT_S:g} s.")
        case openai.APIConnectionError():
            return UnavailableError(
                f"{url} cannot be reached ({error.__cause__ or error}); `graftwork status` shows why."
            )
        case _:
            return UnavailableError(f"The answer broke off: {error}")


def server_sentence(error: openai.APIStatusError) -> str:
    """The message in an OpenAI error body, else the body's text."""
    body = error.body
    if isinstance(body, dict):
        return str(body.get("message") or body)
    return " ".join(error.response.text.split())[:300] or str(error)
