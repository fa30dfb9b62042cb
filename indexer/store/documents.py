"""Documents as they are stored: the rows of one physical collection put together, for one tenant."""

from __future__ import annotations

from collections.abc import Mapping

from indexer.store.client import StoreClient
from indexer.store.expressions import tenant_and_documents, tenant_and_prefix
from indexer.store.schema import NO_PAGE, headings
from indexer.types import StoredChunk, StoredDocument

_BATCH = 1000  # rows per page; Milvus allows 16,384
_DOCUMENT_FIELDS = ["document_id", "document_hash", "chunk_count", "uri", "title"]
CHUNK_FIELDS = ["chunk_id", "ordinal", "heading_path", "page", "span_start", "span_end", "text", "title", "uri"]


class Documents(StoreClient):
    """Lists documents and their chunks."""

    def list_documents(self, physical: str, *, tenant: str, prefix: str = "") -> list[StoredDocument]:
        """Return a tenant's documents whose id begins with `prefix`, by id."""
        found: dict[str, StoredDocument] = {}
        for row in self.pages(physical, tenant_and_prefix(tenant, prefix), _DOCUMENT_FIELDS, batch=_BATCH):
            document_id, document_hash = str(row["document_id"]), str(row["document_hash"])
            known = found.get(document_id)
            found[document_id] = StoredDocument(
                document_id=document_id,
                hashes=tuple(dict.fromkeys((*(known.hashes if known else ()), document_hash))),
                rows=(known.rows if known else 0) + 1,
                chunk_count=int(str(row["chunk_count"])),
                uri=str(row["uri"]),
                title=str(row["title"]),
            )
        return [found[document_id] for document_id in sorted(found)]

    def read_document(self, physical: str, document_id: str, *, tenant: str) -> list[StoredChunk]:
        """Return a document's chunks in order; none where there is no such document."""
        rows = self.pages(physical, tenant_and_documents(tenant, [document_id]), CHUNK_FIELDS, batch=_BATCH)
        return sorted(map(stored_chunk, rows), key=lambda chunk: chunk.ordinal)


def stored_chunk(row: Mapping[str, object]) -> StoredChunk:
    """Return the chunk in a row that carries CHUNK_FIELDS."""
    return StoredChunk(
        chunk_id=str(row["chunk_id"]),
        ordinal=int(str(row["ordinal"])),
        title=str(row["title"]),
        uri=str(row["uri"]),
        heading_path=headings(row["heading_path"]),
        page=None if row["page"] == NO_PAGE else int(str(row["page"])),
        start=int(str(row["span_start"])),
        end=int(str(row["span_end"])),
        text=str(row["text"]),
    )
