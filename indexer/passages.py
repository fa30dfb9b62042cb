"""What a search returns: plain data that the serving graph, the command line and the evaluation share."""

from __future__ import annotations

from dataclasses import dataclass

MAX_NEIGHBOURS = 5  # chunks to each side that a passage may grow by


@dataclass(frozen=True, slots=True)
class Passage:
    """One retrieved chunk.

    Attributes:
        chunk_id: Stable identifier of the chunk; equal text at the same place in the same document keeps it.
        document_id: Identifier of the document the chunk was cut from.
        title: The document's title.
        heading_path: Headings above the chunk, outermost first; empty where the document has none.
        uri: Where the document came from.
        page: One-based page for paged formats, else None.
        ordinal: Zero-based position of the chunk in its document.
        text: The chunk's text as indexed.
        score: Similarity, higher is better; its scale depends on the fusion and is comparable within one result only.
        start: First character of the chunk in the document's extracted text.
        end: One past its last character there.
    """

    chunk_id: str
    document_id: str
    title: str
    heading_path: tuple[str, ...]
    uri: str
    page: int | None
    ordinal: int
    text: str
    score: float
    start: int = 0
    end: int = 0

    @property
    def places(self) -> tuple[str, ...]:
        """Title and headings, outermost first, each once: a document's first heading often is its title."""
        return tuple(dict.fromkeys(part for part in (self.title, *self.heading_path) if part))


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The passages for one query, best first, and where they came from.

    Attributes:
        passages: At most k passages, best first.
        collection: The alias that was asked.
        generation: Number of the physical collection that answered (`handbook__g7` is 7).
        embed_ms: Milliseconds spent on embedding the batch that the query was in.
        search_ms: Milliseconds spent in the vector store for that batch: finding the collection and searching it.
        rerank_ms: Milliseconds spent on ordering this query's passages anew; 0 where that was not asked for.
    """

    passages: tuple[Passage, ...]
    collection: str
    generation: int
    embed_ms: float
    search_ms: float
    rerank_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Candidates:
    """What each search found for one query; empty for a search that was not made.

    Attributes:
        dense: By embeddings, best first, scored by cosine.
        text: By BM25, best first.
        generation: Number of the physical collection that answered.
        physical: Its name.
        embed_ms: As in SearchResult.
        search_ms: As in SearchResult.
    """

    dense: tuple[Passage, ...]
    text: tuple[Passage, ...]
    generation: int
    physical: str
    embed_ms: float
    search_ms: float
