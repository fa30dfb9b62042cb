"""Rows in Milvus: chunks in and out of one physical collection, every read limited to one tenant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.sources.provenance import stored_file
from indexer.store.client import StoreClient
from indexer.store.connection import translated
from indexer.store.filters import chunks_are, tenant_and_documents, tenant_is
from indexer.store.schema import headings_from_row, row_from_chunk
from indexer.types import Chunk, ChunkPlace, StoredRow

_ITERATOR_BATCH = 2000  # rows per page of a scan; Milvus allows 16,384
_FLUSH_TIMEOUT_S = 120.0
_STATE_FIELDS = ["chunk_id", "document_id", "document_hash", "chunk_count", "uri", "metadata"]
_PLACE_FIELDS = ["chunk_id", "document_id", "heading_path"]


class Rows(StoreClient):
    """Writes, counts, scans and deletes chunks."""

    def upsert(self, physical: str, chunks: Sequence[Chunk], vectors: NDArray[np.float32], *, tenant: str) -> None:
        """Write chunks; a chunk id that exists is replaced, one given twice is written once."""
        rows = {
            chunk.chunk_id: row_from_chunk(chunk, vector, tenant=tenant)
            for chunk, vector in zip(chunks, vectors, strict=True)
        }
        if rows:
            with translated(self.uri, f"upsert into {physical}"):
                self.client().upsert(physical, list(rows.values()), timeout=self._timeout_s)

    def flush(self, physical: str) -> None:
        """Make all writes durable; called once per run, by the driver, because Milvus limits its rate."""
        with translated(self.uri, f"flush {physical}"):
            self.client().flush(physical, timeout=max(self._timeout_s, _FLUSH_TIMEOUT_S))

    def count(self, physical: str, *, tenant: str | None = None) -> int:
        """Return the number of rows, of one tenant or of all, at Strong consistency."""
        expression = tenant_is(tenant) if tenant is not None else ""
        result = self._read(
            physical,
            lambda client: client.query(
                physical,
                filter=expression,
                output_fields=["count(*)"],
                consistency_level="Strong",
                timeout=self._timeout_s,
            ),
        )
        return int(result[0]["count(*)"])

    def scan(self, physical: str, *, tenant: str, document_ids: Sequence[str] | None = None) -> Iterator[StoredRow]:
        """Yield the state of a tenant's rows, all of them or those of some documents, page by page."""
        expression = tenant_is(tenant) if document_ids is None else tenant_and_documents(tenant, document_ids)
        for row in self._pages(physical, expression, _STATE_FIELDS):
            yield StoredRow(
                chunk_id=str(row["chunk_id"]),
                document_id=str(row["document_id"]),
                document_hash=str(row["document_hash"]),
                chunk_count=int(str(row["chunk_count"])),
                file=stored_file(str(row["uri"]), row["metadata"]),
            )

    def places(self, physical: str, *, tenant: str) -> Iterator[ChunkPlace]:
        """Yield where a tenant's chunks stand, page by page."""
        for row in self._pages(physical, tenant_is(tenant), _PLACE_FIELDS):
            yield ChunkPlace(
                chunk_id=str(row["chunk_id"]),
                document_id=str(row["document_id"]),
                heading_path=headings_from_row(row),
            )

    def _pages(self, physical: str, expression: str, fields: Sequence[str]) -> Iterator[Mapping[str, object]]:
        pages = self._read(
            physical,
            lambda client: client.query_iterator(
                physical,
                filter=expression,
                output_fields=list(fields),
                batch_size=_ITERATOR_BATCH,
                consistency_level="Strong",
                timeout=self._timeout_s,
            ),
        )
        with translated(self.uri, f"scan {physical}"):
            try:
                while page := pages.next():
                    yield from page
            finally:
                pages.close()

    def delete_chunks(self, physical: str, chunk_ids: Sequence[str], *, batch: int = 500) -> int:
        """Delete rows by primary key; returns how many were asked for."""
        for start in range(0, len(chunk_ids), batch):
            with translated(self.uri, f"delete from {physical}"):
                expression = chunks_are(chunk_ids[start : start + batch])
                self.client().delete(physical, filter=expression, timeout=self._timeout_s)
        return len(chunk_ids)
