"""One batch job of Ray Data LLM over vLLM engines.

Prompts come as tokens, for Ray Data LLM's own stages would tokenise the text that a chat template gave, and put a
second begin-of-text token before it where the tokenizer adds one (`TokenizeUDF`, ray 2.60). So engines read what they
would read behind vLLM's chat route, and no further process has to load the tokenizer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from train.examples.engines import EnginePlan, batch_rows, engine_environment
from train.examples.request import Offline

if TYPE_CHECKING:
    from ray.data import Dataset

# The column that is filled where a request failed: ray/llm/_internal/batch/stages/vllm_engine_stage.py.
_FAILED = "__inference_error__"


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """What an engine gave for a prompt; `error` says why it gave nothing, and is empty where it did."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    error: str


def run_engines(
    prompts: Mapping[int, list[int]],
    *,
    offline: Offline,
    plan: EnginePlan,
    arguments: dict[str, JsonValue],
    fields: Mapping[str, JsonValue],
) -> Generator[tuple[int, EngineAnswer]]:
    """Start engines, give the answer of each prompt as its batch is done, and end the engines.

    Args:
        prompts: Tokens by the number that the answer will bear.
        offline: The model.
        plan: How many engines, on what.
        arguments: Of vLLM.
        fields: Sampling parameters of every prompt.

    Raises:
        UnavailableError: An engine does not start.
        GraftworkError: Ray stopped the job.
    """
    import ray

    from indexer.run.ray_data import ray_data_context, translated_ray_errors
    from train.examples.engine_failures import told_engine_failures

    batch = batch_rows(offline.concurrency)
    rows = [
        {"place": place, "tokenized_prompt": tokens, "sampling_params": dict(fields)}
        for place, tokens in prompts.items()
    ]
    with ray_data_context(), translated_ray_errors(), told_engine_failures(offline.base.name):
        processor = _processor(offline, plan=plan, arguments=arguments, batch=batch)
        dataset = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // batch))
        for row in processor(dataset).iter_rows():
            yield int(row["place"]), _read(row)


def _processor(
    offline: Offline, *, plan: EnginePlan, arguments: dict[str, JsonValue], batch: int
) -> Callable[[Dataset], Dataset]:
    with _quiet():
        from ray.data.llm import build_processor, vLLMEngineProcessorConfig

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
        processor: Callable[[Dataset], Dataset] = build_processor(
            config, postprocess=_kept_columns, preprocess_map_kwargs=aside, postprocess_map_kwargs=aside
        )
    return processor


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep off the user's terminal what is logged while a job is put together; engines log in Ray."""
    ray_logger, disabled = logging.getLogger("ray"), logging.root.manager.disable
    level = ray_logger.level
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        ray_logger.setLevel(level)  # which `build_processor` changes: it calls ray.init once more


def _kept_columns(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("place", "generated_text", "num_input_tokens", "num_generated_tokens")}


def _read(row: Mapping[str, Any]) -> EngineAnswer:
    return EngineAnswer(
        text=str(row["generated_text"]),
        prompt_tokens=int(row["num_input_tokens"]),
        completion_tokens=int(row["num_generated_tokens"]),
        error=str(row[_FAILED] or ""),
    )
