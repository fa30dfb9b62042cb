"""Vectors that are stored already: a chunk whose text to embed is the same as before keeps the one it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.store.milvus import MilvusStore
from indexer.store.retry import call_with_retry
from indexer.types import Chunk

_DOCUMENTS = 200  # ids per filter expression


@dataclass(frozen=True, slots=True)
class StoredVectors:
    """Where vectors of earlier versions, copies and former names of documents are found; sent to the workers.

    Attributes:
        store: The connection.
        physical: Name of the generation; its embedder is that of the run.
        tenant: Whose rows.
        alike: Ids of stored documents by ids of those to be written.
    """

    store: MilvusStore
    physical: str
    tenant: str
    alike: Mapping[str, str]

    def find(self, chunks: Sequence[Chunk]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors of those chunks whose text is stored with a document like theirs, by chunk id.

        Raises:
            UnavailableError: Milvus did not answer, again and again.
        """
        sources = sorted({self.alike[chunk.document_id] for chunk in chunks if chunk.document_id in self.alike})
        by_text: dict[str, NDArray[np.float32]] = {}
        for start in range(0, len(sources), _DOCUMENTS):
            by_text |= self._read(sources[start : start + _DOCUMENTS])
        return {chunk.chunk_id: by_text[chunk.search_text] for chunk in chunks if chunk.search_text in by_text}

    def close(self) -> None:
        """Close the connection, if one was opened."""
        self.store.close()

    def _read(self, document_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        return call_with_retry(
            lambda: self.store.vectors_by_text(self.physical, tenant=self.tenant, document_ids=document_ids),
            description=f"read vectors of {len(document_ids)} documents from {self.physical}",
            before_retry=self.store.close,
        )
