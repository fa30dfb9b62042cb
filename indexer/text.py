"""Text as every store takes it."""

from __future__ import annotations


def clean(text: str) -> str:
    """Drop lone surrogates and NULs, which neither a tokenizer nor Arrow nor Milvus takes."""
    return text.encode("utf-8", "ignore").decode("utf-8").replace("\0", "")


def clip(text: str, max_bytes: int) -> str:
    """Return as much of the head of `text` as fits into `max_bytes` of UTF-8."""
    data = text.encode("utf-8", "replace")
    return data.decode() if len(data) <= max_bytes else data[:max_bytes].decode("utf-8", "ignore")
