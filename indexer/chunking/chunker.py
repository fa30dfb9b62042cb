"""Cut a document into chunks that fit the embedder, by a strategy of the settings.

A chunk is a contiguous slice of the document's text, whatever the strategy.
"""

from __future__ import annotations

from dataclasses import dataclass

from indexer.chunking.measure import Measure
from indexer.chunking.running import by_sentences, by_tokens
from indexer.chunking.slices import Slice
from indexer.chunking.structure import by_structure
from indexer.chunking.tokens import TokenCounter
from indexer.settings import ChunkStrategy
from indexer.types import Document

CHUNKER_VERSION = 1
PREFIX_MIN_TOKENS = 8  # with less room a prefix says nothing

_STRATEGIES = {"structure": by_structure, "sentences": by_sentences, "tokens": by_tokens}


@dataclass(frozen=True, slots=True)
class ChunkerSettings:
    """How documents are cut.

    Attributes:
        chunk_tokens: Most tokens of text per chunk.
        overlap_tokens: Tokens repeated from the chunk before, at most.
        prefix_tokens: Most tokens of title and headings put before the text when it is embedded; 0 for none.
        strategy: Along what.
    """

    chunk_tokens: int
    overlap_tokens: int
    prefix_tokens: int
    strategy: ChunkStrategy = "structure"

    @property
    def identity(self) -> str:
        """Text that changes when the chunks would."""
        named = "" if self.strategy == "structure" else f"{self.strategy} "
        return f"{named}v{CHUNKER_VERSION} {self.chunk_tokens}/{self.overlap_tokens}/{self.prefix_tokens}"


def cut(document: Document, *, tokens: TokenCounter, settings: ChunkerSettings) -> list[Slice]:
    """Return the chunks of a document, in order.

    No slice holds more than `chunk_tokens` tokens; together they hold all text but blank space between blocks.
    """
    measure = Measure(document.text, tokens=tokens, max_tokens=settings.chunk_tokens)
    return _STRATEGIES[settings.strategy](document, measure=measure, overlap_tokens=settings.overlap_tokens)


def search_text(
    text: str, *, title: str, heading_path: tuple[str, ...], tokens: TokenCounter, prefix_tokens: int
) -> str:
    """Return the text with its title and headings in front, within `prefix_tokens`.

    Where they do not all fit, the outermost headings go first, then the title; the innermost heading says most.
    """
    parts = [title, *heading_path]
    unique = [part for index, part in enumerate(parts) if part and part not in parts[:index]]
    if prefix_tokens < PREFIX_MIN_TOKENS or not unique:
        return text
    candidates = [unique, *([unique[0], *unique[skip:]] for skip in range(2, len(unique))), unique[-1:]]
    for kept in candidates:
        prefix = " > ".join(kept)
        if tokens.count(prefix) <= prefix_tokens:
            return f"{prefix}\n\n{text}"
    spans = tokens.spans(unique[-1])[:prefix_tokens]
    return f"{unique[-1][: spans[-1][1]]}\n\n{text}"
