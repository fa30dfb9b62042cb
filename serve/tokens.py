"""How many tokens of the base model a text has."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path


def token_counter(model: Path) -> Callable[[str], int]:
    """Load a model's tokenizer; returns a function that counts a text's tokens, safe under threads.

    Special tokens that a tokenizer puts around a text are not counted. Tokenizers in Rust count side by side and let
    other threads run meanwhile; those in Python one text at a time.

    Args:
        model: Folder of the model.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model), local_files_only=True)
    rust = getattr(tokenizer, "backend_tokenizer", None)
    if rust is not None:
        rust.no_truncation()
        rust.no_padding()
        return lambda text: len(rust.encode_batch_fast([text], add_special_tokens=False)[0].ids)
    lock = threading.Lock()

    def count(text: str) -> int:
        with lock:
            return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    return count
