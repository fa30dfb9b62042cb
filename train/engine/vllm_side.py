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

# Keys and values of one sequence of a few hundred tokens: 0.3 MiB each on a model of 70 billion parameters in bfloat16.
_CACHE_BYTES = 2**28


def read_vllm(probe: Probe, *, begin: Callable[[str], None]) -> Reading:
    """Start an engine, load the adapter, score the rows, and answer the prompts.

    One sequence at a time: vLLM 0.29 scores a prompt whose adapter changes the logits rightly only when it is alone
    (vllm/lora/layers/logits_processor.py has one slot a sequence, not a token).

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
        max_num_batched_tokens=probe.rows.longest + 1,
        max_num_seqs=1,
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
    written = tuple(_answer(engine, prompt, greedy, adapter) for prompt in probe.rows.prompts)
    return Reading(base=alone, adapter=adapted, written=written)


def _score(engine: LLM, row: Tokens, once: SamplingParams, adapter: LoRARequest | None) -> tuple[float, ...]:
    output = engine.generate({"prompt_token_ids": list(row)}, once, lora_request=adapter, use_tqdm=False)[0]
    scores = output.prompt_logprobs
    return tuple(float(scores[place][row[place]].logprob) for place in range(1, len(row)))


def _answer(engine: LLM, prompt: Tokens, greedy: SamplingParams, adapter: LoRARequest) -> Tokens:
    output = engine.generate({"prompt_token_ids": list(prompt)}, greedy, lora_request=adapter, use_tqdm=False)[0]
    return tuple(output.outputs[0].token_ids)
