"""Rows in Milvus: chunks in and out of one physical collection, every read limited to one tenant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.sources.provenance import stored_file, stored_former
from indexer.store.client import StoreClient
from indexer.store.connection import refusals, translated
from indexer.store.expressions import tenant_and_chunks, tenant_and_documents, tenant_is
from indexer.store.schema import TEXT_MAX_BYTES, headings, row_from_chunk
from indexer.types import Chunk, ChunkPlace, StoredRow

_ITERATOR_BATCH = 2000  # rows per page of a scan; Milvus allows 16,384
_FLOATS_PER_PAGE = 4_000_000  # 16 MB, a quarter of what a server sends in one message by default
_FLUSH_TIMEOUT_S = 120.0
_STATE_FIELDS = ["chunk_id", "document_id", "document_hash", "chunk_count", "uri", "metadata"]
_CUT_BYTES = TEXT_MAX_BYTES - 3  # a text that was cut ends within a character of the limit
_PLACE_FIELDS = ["chunk_id", "document_id", "heading_path"]


class Rows(StoreClient):
    """Writes, counts, scans and deletes chunks."""

    def upsert(self, physical: str, chunks: Sequence[Chunk], vectors: NDArray[np.float32], *, tenant: str) -> None:
        """Write chunks; a chunk id that exists is replaced, one given twice is written once.

        Raises:
            RefusedError: Milvus does not take what is in the rows; some of them may be written.
            UnavailableError: Milvus does not answer, or takes no more for now.
        """
        rows = {
            chunk.chunk_id: row_from_chunk(chunk, vector, tenant=tenant)
            for chunk, vector in zip(chunks, vectors, strict=True)
        }
        if rows:
            action = f"upsert into {physical}"
            with translated(self.uri, action), refusals(self.uri, action):
                self.client().upsert(physical, list(rows.values()), timeout=self._timeout_s)

    def flush(self, physical: str) -> None:
        """Make all writes durable; called once per run, by the driver, because Milvus limits its rate."""
        timeout_s = max(self._timeout_s, _FLUSH_TIMEOUT_S)
        self._repeatable(f"flush {physical}", lambda client: client.flush(physical, timeout=timeout_s))

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
        for row in self.pages(physical, expression, _STATE_FIELDS, batch=_ITERATOR_BATCH):
            yield StoredRow(
                chunk_id=str(row["chunk_id"]),
                document_id=str(row["document_id"]),
                document_hash=str(row["document_hash"]),
                chunk_count=int(str(row["chunk_count"])),
                file=stored_file(str(row["uri"]), row["metadata"]),
                former=stored_former(row["metadata"]),
            )

    def tenants(self, physical: str) -> list[str]:
        """Return the tenants that have rows; reads one field of every row."""
        rows = self.pages(physical, "", ["tenant"], batch=_ITERATOR_BATCH)
        return sorted({str(row["tenant"]) for row in rows})

    def vectors(
        self, physical: str, *, tenant: str, dimension: int, chunk_ids: Sequence[str] | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """Yield a tenant's vectors, all of them or those of some rows, in arrays of shape [rows, dimension]."""
        expression = tenant_is(tenant) if chunk_ids is None else tenant_and_chunks(tenant, chunk_ids)
        page: list[object] = []
        size = max(1, min(_ITERATOR_BATCH, _FLOATS_PER_PAGE // dimension))
        for row in self.pages(physical, expression, ["dense"], batch=size):
            page.append(row["dense"])
            if len(page) == size:
                yield np.asarray(page, dtype=np.float32)
                page = []
        if page:
            yield np.asarray(page, dtype=np.float32)

    def vectors_by_text(
        self, physical: str, *, tenant: str, document_ids: Sequence[str]
    ) -> dict[str, NDArray[np.float32]]:
        """Return the vectors of some documents' chunks by the text that was embedded; none for a text that was cut."""
        found: dict[str, NDArray[np.float32]] = {}
        for row in self.pages(
            physical, tenant_and_documents(tenant, document_ids), ["search_text", "dense"], batch=_ITERATOR_BATCH
        ):
            text = str(row["search_text"])
            if len(text.encode()) < _CUT_BYTES:
                found[text] = np.asarray(row["dense"], dtype=np.float32)
        return found

    def places(self, physical: str, *, tenant: str) -> Iterator[ChunkPlace]:
        """Yield where a tenant's chunks stand, page by page."""
        for row in self.pages(physical, tenant_is(tenant), _PLACE_FIELDS, batch=_ITERATOR_BATCH):
            yield ChunkPlace(
                chunk_id=str(row["chunk_id"]),
                document_id=str(row["document_id"]),
                heading_path=headings(row["heading_path"]),
            )

    def delete_chunks(self, physical: str, chunk_ids: Sequence[str], *, tenant: str, batch: int = 500) -> int:
        """Delete rows of a tenant by primary key; returns how many were asked for."""
        for start in range(0, len(chunk_ids), batch):
            self._delete(physical, tenant_and_chunks(tenant, chunk_ids[start : start + batch]))
        return len(chunk_ids)

    def _delete(self, physical: str, expression: str) -> None:
        self._read(physical, lambda client: client.delete(physical, filter=expression, timeout=self._timeout_s))
