"""A stored collection as a source of examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from indexer.errors import ConflictError
from indexer.passages import Passage, SearchResult
from indexer.store.milvus import MilvusStore
from indexer.types import ChunkPlace, Generation


class Search(Protocol):
    """What is asked of a searcher."""

    def search(self, queries: Sequence[str], *, collection: str, tenant: str, k: int) -> list[SearchResult]:
        """Return the best passages for each query."""


class StoredCorpus:
    """The generation of a collection that was live when this was made."""

    def __init__(self, *, store: MilvusStore, searcher: Search, made: Generation, tenant: str) -> None:
        """Keep what is needed; nothing is read yet.

        Args:
            store: Where the chunks are.
            searcher: What finds them.
            made: The live generation.
            tenant: Whose chunks.
        """
        self._store = store
        self._searcher = searcher
        self._made = made
        self._tenant = tenant

    @property
    def name(self) -> str:
        """Alias of the collection."""
        return self._made.alias

    @property
    def generation(self) -> int:
        """Number of the generation."""
        return self._made.number

    def places(self) -> Iterable[ChunkPlace]:
        """Where the tenant's chunks stand."""
        return self._store.places(self._made.physical, tenant=self._tenant)

    def read(self, document_id: str) -> tuple[Passage, ...]:
        """A document's chunks, in their order."""
        chunks = self._store.read_document(self._made.physical, document_id, tenant=self._tenant)
        return tuple(
            Passage(
                chunk_id=chunk.chunk_id,
                document_id=document_id,
                title=chunk.title,
                heading_path=chunk.heading_path,
                uri=chunk.uri,
                page=chunk.page,
                ordinal=chunk.ordinal,
                text=chunk.text,
                score=0.0,
                start=chunk.start,
                end=chunk.end,
            )
            for chunk in chunks
        )

    def search(self, queries: Sequence[str], *, k: int) -> list[tuple[Passage, ...]]:
        """For each query the best k passages, best first.

        Raises:
            ConflictError: Another generation has become the live one.
        """
        results = self._searcher.search(queries, collection=self.name, tenant=self._tenant, k=k)
        for result in results:
            if result.generation != self.generation:
                raise ConflictError(
                    f"Collection {self.name!r} went from generation {self.generation} to {result.generation} "
                    "meanwhile; run this again, and only what has changed is asked anew."
                )
        return [result.passages for result in results]
