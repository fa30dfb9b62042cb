"""The chunks beside given ones in their documents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from indexer.passages import Passage
from indexer.store.client import StoreClient
from indexer.store.documents import CHUNK_FIELDS, stored_chunk
from indexer.store.expressions import tenant_and_places
from indexer.types import StoredChunk

_DOCUMENTS = 50  # per expression, so that it stays some kilobytes long
_FIELDS = [*CHUNK_FIELDS, "document_id", "document_hash"]
_ROWS = 1000  # per page; Milvus allows 16,384


class Neighbours(StoreClient):
    """Reads what stands before and after a passage."""

    def neighbours(
        self, physical: str, passages: Sequence[Passage], *, tenant: str, reach: int = 1
    ) -> dict[str, tuple[StoredChunk, ...]]:
        """Return the chunks beside each passage by the passage's key, in the document's order, itself left out.

        They are asked for by tenant, document and ordinal; no score has a say. They are of the passage's own version of
        the document, also while a run replaces that by another. A passage that is not stored any more has none.

        Args:
            physical: The collection that the passages are from.
            passages: What was found.
            tenant: Whose.
            reach: How many to each side.
        """
        wanted: dict[str, set[int]] = defaultdict(set)
        for passage in passages:
            wanted[passage.document_id].update(_around(passage.ordinal, reach))
        rows: dict[tuple[str, str, int], StoredChunk] = {}
        versions: dict[str, str] = {}
        for places in _batches(wanted):
            for row in self.pages(physical, tenant_and_places(tenant, places), _FIELDS, batch=_ROWS):
                chunk, version = stored_chunk(row), str(row["document_hash"])
                rows[str(row["document_id"]), version, chunk.ordinal] = chunk
                versions[chunk.chunk_id] = version
        return {
            passage.chunk_id: tuple(
                rows[place]
                for ordinal in _around(passage.ordinal, reach)
                if ordinal != passage.ordinal
                and (place := (passage.document_id, versions.get(passage.chunk_id, ""), ordinal)) in rows
            )
            for passage in passages
        }


def _around(ordinal: int, reach: int) -> range:
    return range(max(0, ordinal - reach), ordinal + reach + 1)


def _batches(wanted: Mapping[str, Iterable[int]]) -> Iterator[dict[str, list[int]]]:
    documents = sorted(wanted)
    for start in range(0, len(documents), _DOCUMENTS):
        yield {document_id: sorted(wanted[document_id]) for document_id in documents[start : start + _DOCUMENTS]}
