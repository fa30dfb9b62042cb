"""Asks engines of this cluster, without a server: each stage is a batch job of Ray Data LLM over vLLM.

Ray Data starts the engines of a job with it and ends them after it, so each stage that has something left to ask waits
for its engines to start (30 to 60 s); a stage that the journal answers starts none.

The messages become tokens here and not in Ray Data LLM's own stages, which tokenise the text that the chat template
gave and put a second begin-of-text token before it where the tokenizer adds one (`TokenizeUDF`, ray 2.60); so the
engines read exactly what they would read behind vLLM's chat route, and no process more has to load the tokenizer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import JsonValue

from indexer.errors import InputError, UnavailableError
from train.examples.engines import (
    EnginePlan,
    batch_rows,
    context_tokens,
    engine_arguments,
    engine_environment,
    plan_engines,
)
from train.examples.journal import Key, Reply, digest
from train.examples.request import Offline
from train.examples.teacher import Ask, Books
from train.examples.types import Message, Stage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Columns of the rows that come back: ray/llm/_internal/batch/stages/vllm_engine_stage.py, `vLLMOutputData`.
_FAILED = "__inference_error__"


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A request that the journal does not know."""

    place: int
    key: Key
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What an engine gave for the prompt of a place; `error` says why it gave nothing."""

    place: int
    text: str
    prompt_tokens: int
    completion_tokens: int
    error: str


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
            InputError: The model's chat template does not take the messages, or nearly all requests are too long.
            UnavailableError: Ray has no room for the engines, or so many requests failed in a row that the others are
                not tried.
            GraftworkError: The engines do not start, or died.
        """
        replies: list[Reply | None] = [None] * len(asks)
        waiting: dict[int, _Prompt] = {}
        for place, ask in enumerate(asks):
            key = self._key(stage, ask)
            replies[place] = self._books.remembered(key)
            if replies[place] is None and (tokens := self._tokens(stage, ask.messages)) is not None:
                waiting[place] = _Prompt(place, key, tokens)
        progress(len(asks) - len(waiting))
        if waiting:
            for answer in self._run(stage, list(waiting.values())):
                replies[answer.place] = self._take(waiting.pop(answer.place), answer)
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

    def _run(self, stage: Stage, prompts: Sequence[_Prompt]) -> Iterator[_Answer]:
        """Run a job over all of the prompts; answers come as their batches do, in any order."""
        import ray

        plan = plan_engines(self._offline, free=ray.available_resources())
        longest = max(len(prompt.tokens) for prompt in prompts) + self._max_tokens
        arguments = engine_arguments(self._offline, context_tokens=context_tokens(longest, limit=self._limit))
        begun = time.perf_counter()
        try:
            yield from _job(prompts, self._offline, plan=plan, arguments=arguments, fields=self._fields)
        finally:
            seconds = (time.perf_counter() - begun) * plan.engines
            self._books.costs.engines_ran(stage, seconds, gpus=plan.gpus)

    def _take(self, prompt: _Prompt, answer: _Answer) -> Reply | None:
        if answer.error:
            self._fail(prompt.key.stage, answer.error)
            return None
        self._in_a_row = 0
        reply = Reply(
            stage=prompt.key.stage,
            chunk=prompt.key.chunk,
            question=prompt.key.question,
            request=prompt.key.request,
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


def _job(
    prompts: Sequence[_Prompt],
    offline: Offline,
    *,
    plan: EnginePlan,
    arguments: dict[str, JsonValue],
    fields: Mapping[str, JsonValue],
) -> Iterator[_Answer]:
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    from indexer.run.ray_data import ray_data_context, translated_ray_errors
    from train.examples.engine_failures import told_engine_failures

    batch = batch_rows(offline.concurrency)
    rows = [
        {"place": prompt.place, "tokenized_prompt": prompt.tokens, "sampling_params": dict(fields)}
        for prompt in prompts
    ]
    config = vLLMEngineProcessorConfig(
        model_source=str(offline.base.path),
        engine_kwargs=arguments,
        runtime_env={"env_vars": engine_environment(offline)},
        batch_size=batch,
        concurrency=(plan.engines, plan.engines),
        # Without it Ray Data LLM asks for a GPU; the one bundle is given to each worker of an engine.
        placement_group_config={"bundle_per_worker": {"CPU": 1, **({"GPU": 1} if plan.gpus else {})}},
        should_continue_on_error=True,
        log_engine_metrics=False,
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
    )
    # Passing rows on costs next to nothing, and must find room beside engines that take all CPUs.
    aside = {"num_cpus": 0, "concurrency": 1}
    with ray_data_context(), translated_ray_errors(), told_engine_failures(offline.base.name):
        processor = build_processor(
            config, postprocess=_kept_columns, preprocess_map_kwargs=aside, postprocess_map_kwargs=aside
        )
        dataset = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // batch))
        for row in processor(dataset).iter_rows():
            yield _read(row)


def _kept_columns(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("place", "generated_text", "num_input_tokens", "num_generated_tokens")}


def _read(row: Mapping[str, Any]) -> _Answer:
    return _Answer(
        place=int(row["place"]),
        text=str(row["generated_text"]),
        prompt_tokens=int(row["num_input_tokens"]),
        completion_tokens=int(row["num_generated_tokens"]),
        error=str(row[_FAILED] or ""),
    )
