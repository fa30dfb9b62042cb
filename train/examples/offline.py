"""Asks engines of this cluster, without a server: each stage is a batch job of Ray Data LLM over vLLM.

Ray Data starts the engines of a job with it and ends them after it, so each stage that has something left to ask waits
for its engines to start; a stage that the journal answers starts none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from indexer.errors import InputError, UnavailableError
from train.examples.engine_job import EngineAnswer, run_engines
from train.examples.engines import EnginePlan, context_tokens, engine_arguments, plan_engines
from train.examples.journal import Key, Reply, digest
from train.examples.request import Offline
from train.examples.teacher import Ask, Books
from train.examples.types import Message, Stage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request that the journal does not know, and what the engine reads."""

    key: Key
    tokens: list[int]


class OfflineAsker:
    """Asks a model's engines for one run; Ray is initialised in this process."""

    def __init__(self, offline: Offline, *, books: Books, fields: dict[str, JsonValue]) -> None:
        """Start nothing yet.

        Args:
            offline: The model, and the engines that it gets.
            books: What is known already, and where what comes is kept and counted.
            fields: vLLM's sampling parameters of every request; `max_tokens` is a number.
        """
        self._offline = offline
        self._books = books
        self._fields = fields
        self._max_tokens = cast(int, fields["max_tokens"])
        self._in_a_row = 0
        self.last_failure = ""

    def ask_all(self, stage: Stage, asks: Sequence[Ask], *, progress: Callable[[int], None]) -> list[Reply | None]:
        """Return what came for each request, in their order; None for one that failed.

        Raises:
            InputError: The model's chat template does not take the messages.
            UnavailableError: Ray has no room for the engines, they do not start, or so many requests failed in a row
                that the others are not tried.
        """
        replies: list[Reply | None] = [None] * len(asks)
        waiting: dict[int, _Waiting] = {}
        for place, ask in enumerate(asks):
            key = self._key(stage, ask)
            replies[place] = self._books.remembered(key)
            if replies[place] is None and (tokens := self._tokens(stage, ask.messages)) is not None:
                waiting[place] = _Waiting(key, tokens)
        progress(len(asks) - len(waiting))
        if not waiting:
            return replies
        with closing(self._run(stage, {place: asked.tokens for place, asked in waiting.items()})) as answers:
            for place, answer in answers:
                replies[place] = self._take(waiting.pop(place).key, answer)
                progress(len(asks) - len(waiting))
        return replies

    def _key(self, stage: Stage, ask: Ask) -> Key:
        messages = cast(list[JsonValue], [dict(message) for message in ask.messages])
        request = {"model": self._offline.base.fingerprint, "messages": messages, **self._fields}
        return Key(stage, ask.chunk, ask.question, digest(request))

    def _tokens(self, stage: Stage, messages: Sequence[Message]) -> list[int] | None:
        """The prompt as the model reads it; None, and counted as failed, where it is too long for the model."""
        from jinja2 import TemplateError

        try:
            tokens: list[int] = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages], add_generation_prompt=True, return_dict=False
            )
        except (TemplateError, ValueError) as error:
            raise InputError(
                f"The chat template of {self._offline.base.name} does not take a system and a user message: "
                f"{' '.join(str(error).split())}; name another model."
            ) from error
        if self._limit is not None and len(tokens) + self._max_tokens > self._limit:
            self._fail(
                stage,
                f"its prompt has {len(tokens)} tokens, with --max-tokens {self._max_tokens} more than the "
                f"{self._limit} of {self._offline.base.name}",
            )
            return None
        return tokens

    def _run(self, stage: Stage, prompts: Mapping[int, list[int]]) -> Generator[tuple[int, EngineAnswer]]:
        """Run a job over all of the prompts; answers come as their batches do, in any order."""
        plan = self._plan
        longest = max(map(len, prompts.values())) + self._max_tokens
        arguments = engine_arguments(self._offline, context_tokens=context_tokens(longest, limit=self._limit))
        begun = time.perf_counter()
        try:
            yield from run_engines(prompts, offline=self._offline, plan=plan, arguments=arguments, fields=self._fields)
        finally:
            seconds = (time.perf_counter() - begun) * plan.engines
            self._books.costs.engines_ran(stage, seconds, gpus=plan.gpus)

    def _take(self, key: Key, answer: EngineAnswer) -> Reply | None:
        """Count an answer and write it down. One that ends at its longest length counts as cut."""
        if answer.error:
            self._fail(key.stage, answer.error)
            return None
        self._in_a_row = 0
        reply = Reply(
            stage=key.stage,
            chunk=key.chunk,
            question=key.question,
            request=key.request,
            text=answer.text.strip(),
            cut=answer.completion_tokens >= self._max_tokens,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
        )
        self._books.count(reply)
        self._books.journal.keep(reply)
        return reply

    def _fail(self, stage: Stage, reason: str) -> None:
        self.last_failure = " ".join(reason.split())[:300].rstrip(".")
        self._books.costs.failed(stage)
        self._in_a_row += 1
        if self._in_a_row >= self._offline.give_up_after:
            raise UnavailableError(
                f"{self._in_a_row} requests to {self._offline.base.name} failed in a row, the last: "
                f"{self.last_failure}; {self._books.kept}."
            )

    @cached_property
    def _plan(self) -> EnginePlan:
        """Made once: Ray hears that a stage's engines have ended a little after the next stage has begun."""
        import ray

        return plan_engines(self._offline, free=ray.available_resources())

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._offline.base.path, local_files_only=True)

    @cached_property
    def _limit(self) -> int | None:
        """Tokens that the engine's context may have: as the user says, else the model."""
        given = self._offline.engine.get("max_model_len")
        return given if isinstance(given, int) else context_of(self._offline.base.path)


def context_of(checkpoint: Path) -> int | None:
    """Tokens of a model's context, from its config.json; None where that says nothing."""
    config = json.loads((checkpoint / "config.json").read_bytes())
    found = config.get("text_config", config).get("max_position_embeddings")
    return found if isinstance(found, int) else None
