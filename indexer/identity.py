"""Deterministic identifiers and hashes: the same input gives the same rows on any machine."""

from __future__ import annotations

import hashlib

DOCUMENT_ID_MAX_BYTES = 1024

_HEX = 32  # 128 bits: no collision to expect below 10^18 rows, half the length of a full sha256
_SEPARATOR = b"\x1f"


def _digest(*parts: str | bytes) -> str:
    joined = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        joined.update(str(len(data)).encode() + _SEPARATOR + data)
    return joined.hexdigest()[:_HEX]


def chunk_id(*, tenant: str, document_id: str, ordinal: int, text: str) -> str:
    """Return the primary key of a chunk: equal text at the same place of the same tenant's document keeps it."""
    return _digest("chunk", tenant, document_id, str(ordinal), _digest(text))


def letter_key(*, collection: str, tenant: str, uri: str) -> str:
    """Return the primary key of a dead letter: one per document of a tenant in a collection."""
    return _digest("letter", collection, tenant, uri)


def document_hash(content: bytes, *, pipeline: str) -> str:
    """Return what decides whether a document changed: the hash of its bytes, then that of the pipeline."""
    return _digest("document", content) + pipeline


def content_hash(document_hash: str) -> str:
    """Return the part of a document's hash that its bytes alone decide, equal under every pipeline."""
    return document_hash[:_HEX]


def pipeline_hash(*, parsers: tuple[str, ...], chunker: str, embedder: str) -> str:
    """Return the hash over all that shapes rows besides the documents: parser versions, chunker settings, embedder."""
    return _digest("pipeline", *parsers, chunker, embedder)


def shorten(text: str, max_bytes: int) -> str:
    """Return `text`, or its head and a hash of the whole where it is longer than `max_bytes` of UTF-8."""
    data = text.encode("utf-8", "replace")
    if len(data) <= max_bytes:
        return text
    return data[: max_bytes - _HEX - 1].decode("utf-8", "ignore") + "~" + _digest(text)
