"""What vLLM says of an adapter, from an engine as small as one question needs.

The server's plugin (`vllm.general_plugins` in pyproject.toml) is loaded here as it is there, by vLLM itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from train.engine.builds import kernel_rank
from train.engine.probe import Probe, Reading, Tokens

if TYPE_CHECKING:
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

# Keys and values of some hundred tokens at least: 0.3 MiB each with 70 billion parameters in bfloat16.
_CACHE_BYTES = 2**28
# Prompts that are answered at once.
_AT_ONCE = 8


def read_vllm(probe: Probe, *, begin: Callable[[str], None]) -> Reading:
    """Start an engine, load the adapter, score the rows, and answer the prompts.

    Rows are scored one at a time: vLLM 0.29 scores a prompt whose adapter changes the logits rightly only when it is
    alone (vllm/lora/layers/logits_processor.py has one slot a sequence, not a token).

    Args:
        probe: What is asked.
        begin: Told what is done next.
    """
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    begin("start")
    engine = LLM(
        model=str(probe.base),
        skip_tokenizer_init=True,
        dtype=probe.dtype,
        enforce_eager=True,
        enable_prefix_caching=False,
        kv_cache_memory_bytes=_CACHE_BYTES,
        max_model_len=probe.rows.longest + 1,
        max_num_batched_tokens=max(probe.rows.longest + 1, _AT_ONCE),
        max_num_seqs=_AT_ONCE,
        enable_lora=True,
        max_loras=1,
        max_lora_rank=kernel_rank(probe.rank),
    )
    begin("load the adapter")
    adapter = LoRARequest(lora_name="adapter", lora_int_id=1, lora_path=str(probe.adapter))
    engine.llm_engine.add_lora(adapter)
    begin("score rows with it")
    once = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
    adapted = tuple(_score(engine, row, once, adapter) for row in probe.rows.scored)
    alone = tuple(_score(engine, row, once, None) for row in probe.rows.scored)
    begin("answer with it")
    greedy = SamplingParams(temperature=0.0, max_tokens=probe.rows.written, ignore_eos=True, detokenize=False)
    prompts = [{"prompt_token_ids": list(prompt)} for prompt in probe.rows.prompts]
    answers = engine.generate(prompts, greedy, lora_request=adapter, use_tqdm=False) if prompts else ()
    written = tuple(tuple(answer.outputs[0].token_ids) for answer in answers)
    return Reading(base=alone, adapter=adapted, written=written)


def _score(engine: LLM, row: Tokens, once: SamplingParams, adapter: LoRARequest | None) -> tuple[float, ...]:
    output = engine.generate({"prompt_token_ids": list(row)}, once, lora_request=adapter, use_tqdm=False)[0]
    scores = output.prompt_logprobs
    return tuple(float(scores[place][row[place]].logprob) for place in range(1, len(row)))
