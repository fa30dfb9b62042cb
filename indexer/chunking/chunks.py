"""Documents to stored chunks: cut, name and describe."""

from __future__ import annotations

from indexer.chunking.chunker import ChunkerSettings, cut, search_text
from indexer.chunking.tokens import TokenCounter
from indexer.errors import InputError
from indexer.identity import chunk_id
from indexer.settings import IndexerSettings
from indexer.types import Chunk, Document


def chunker_settings(
    settings: IndexerSettings,
    *,
    max_tokens: int,
    special_tokens: int,
    prompt_tokens: int = 0,
    blank_line_tokens: int = 0,
) -> ChunkerSettings:
    """Share the embedder's limit between a chunk's text and the headings in front of it.

    Args:
        settings: How documents are cut.
        max_tokens: Most tokens the embedder reads.
        special_tokens: Those that are put around every text.
        prompt_tokens: Those of the embedder's prompt for documents, which it puts in front of all.
        blank_line_tokens: Those of the blank line between headings and text.

    Raises:
        InputError: `chunk_tokens` alone is above the limit.
    """
    own = special_tokens + prompt_tokens
    room = max_tokens - own - settings.chunk_tokens
    if room < 0:
        raise InputError(
            f"chunk_tokens is {settings.chunk_tokens}, but embedder {settings.embedder!r} reads {max_tokens} tokens, "
            f"{own} of its own among them; set it to {max_tokens - own} or less."
        )
    return ChunkerSettings(
        chunk_tokens=settings.chunk_tokens,
        overlap_tokens=settings.chunk_overlap_tokens,
        prefix_tokens=max(0, room - blank_line_tokens),
        strategy=settings.chunk_strategy,
    )


def make_chunks(
    document: Document, *, tenant: str, document_hash: str, tokens: TokenCounter, settings: ChunkerSettings
) -> list[Chunk]:
    """Return the chunks of a document, ready to embed."""
    slices = cut(document, tokens=tokens, settings=settings)
    return [
        Chunk(
            chunk_id=chunk_id(tenant=tenant, document_id=document.document_id, ordinal=ordinal, text=text),
            document_id=document.document_id,
            document_hash=document_hash,
            title=document.title,
            heading_path=piece.heading_path,
            uri=document.uri,
            page=piece.page,
            ordinal=ordinal,
            chunk_count=len(slices),
            text=text,
            search_text=search_text(
                text,
                title=document.title,
                heading_path=piece.heading_path,
                tokens=tokens,
                prefix_tokens=settings.prefix_tokens,
            ),
            start=piece.start,
            end=piece.end,
            metadata=document.metadata,
        )
        for ordinal, piece in enumerate(slices)
        for text in [document.text[piece.start : piece.end]]
    ]
