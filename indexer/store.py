"""Milvus, as the rest of Graftwork sees it: generations behind aliases, chunks in, passages out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pymilvus import AnnSearchRequest, MilvusClient, WeightedRanker
from pymilvus.exceptions import MilvusException

from indexer.connection import connect, translated
from indexer.errors import ConflictError, InputError, NotFoundError
from indexer.filters import chunks_are, tenant_and_documents, tenant_is
from indexer.generation import check_embedder, read_generation
from indexer.names import check_alias, physical_name, split_physical
from indexer.passages import Passage
from indexer.schema import (
    PARTITIONS,
    PASSAGE_FIELDS,
    collection_indexes,
    collection_properties,
    collection_schema,
    passage_from_row,
    row_from_chunk,
)
from indexer.types import Chunk, CollectionInfo, Generation, StoredRow

_NOT_FOUND = 100  # Milvus's error code for an unknown collection or alias
_NOT_LOADED = 101  # and for one that is not loaded
_ITERATOR_BATCH = 2000  # rows per page of a scan; Milvus allows 16,384
_MIN_CANDIDATES = 32  # per arm of a hybrid search, so that a passage low in one arm can still win
_DESCRIBED_FOR_S = 10.0  # a generation's embedder never changes; the limit covers one dropped and made anew
_MIN_EF = 64  # HNSW search width; raised to twice the candidates
_Found = TypeVar("_Found")


class MilvusStore:
    """One Milvus connection, opened on first use and shared by threads.

    Every read and every delete of chunks is limited to one tenant. Methods raise UnavailableError when the server
    does not answer, after seconds rather than minutes, naming its URI.

    Limits: one writer per collection; generations beyond the first are made by a later command.
    """

    def __init__(self, uri: str, token: str | None = None, *, timeout_s: float = 10.0) -> None:
        """Store the address; nothing is opened yet."""
        self.uri = uri
        self._token = token
        self._timeout_s = timeout_s
        self._client: MilvusClient | None = None
        self._lock = threading.Lock()
        self._generations: dict[str, tuple[float, Generation]] = {}

    def __getstate__(self) -> dict[str, object]:
        """Leave the connection and its lock out of a pickle."""
        return {"uri": self.uri, "_token": self._token, "_timeout_s": self._timeout_s}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Restore the address; the next call connects."""
        self.__dict__.update(state)
        self._client = None
        self._lock = threading.Lock()
        self._generations = {}

    def client(self) -> MilvusClient:
        """Return the connected client.

        Raises:
            UnavailableError: The server cannot be reached.
        """
        with self._lock:
            if self._client is None:
                self._client = connect(self.uri, token=self._token, timeout_s=min(self._timeout_s, 10.0))
            return self._client

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    # Collections

    def list_collections(self) -> list[CollectionInfo]:
        """Return every collection that an alias makes visible, sorted by alias."""
        with translated(self.uri, "list collections"):
            names = self.client().list_collections(timeout=self._timeout_s)
        described = [self.find(parts[0]) for name in sorted(names) if (parts := split_physical(name))]
        unique = {info.alias: info for info in described if info is not None}
        return [unique[alias] for alias in sorted(unique)]

    def describe(self, collection: str) -> CollectionInfo:
        """Return what is known about a collection.

        Raises:
            NotFoundError: No alias of that name.
        """
        info = self.find(collection)
        if info is None:
            raise self._unknown(collection)
        return info

    def find(self, collection: str) -> CollectionInfo | None:
        """Return what is known about a collection, or None where no alias has that name."""
        physical = self.resolve(check_alias(collection))
        if physical is None:
            return None
        made = self._generation(collection, physical)
        return CollectionInfo(
            alias=collection,
            physical=physical,
            generation=made.number,
            embedder=made.embedder,
            dimension=made.dimension,
            chunks=self.count(physical),
        )

    def locate(self, collection: str) -> Generation:
        """Return the generation behind an alias, without counting its rows; cheap enough for every search.

        Raises:
            NotFoundError: No alias of that name.
        """
        physical = self.resolve(check_alias(collection))
        if physical is None:
            raise self._unknown(collection)
        return self._generation(collection, physical)

    def resolve(self, alias: str) -> str | None:
        """Return the physical collection behind an alias, or None."""
        try:
            with translated(self.uri, "describe alias"):
                return str(self.client().describe_alias(alias, timeout=self._timeout_s)["collection_name"])
        except MilvusException as error:
            if _is_not_found(error):
                return None
            raise

    def unfinished_or_current(self, alias: str) -> Generation | None:
        """Return the generation to write into, behind the alias or left by an interrupted first run, or None."""
        physical = self.resolve(check_alias(alias))
        if physical is None:
            physical = physical_name(alias, 1)
            with translated(self.uri, "find collection"):
                if not self.client().has_collection(physical, timeout=self._timeout_s):
                    return None
        return self._generation(alias, physical)

    def ensure_generation(self, alias: str, *, embedder: str, dimension: int) -> Generation:
        """Return the generation to write into: the one behind the alias, else the first, made where it is missing.

        A first generation without an alias is what an interrupted first run leaves; it is taken up again.

        Raises:
            InputError: The collection was made by another embedder; both are named.
            ConflictError: A collection that Graftwork did not make has the alias's name.
        """
        physical = self.resolve(check_alias(alias))
        if physical is None:
            physical = physical_name(alias, 1)
            client = self.client()
            with translated(self.uri, "create collection"):
                if client.has_collection(alias, timeout=self._timeout_s):
                    raise ConflictError(
                        f"Milvus at {self.uri} has a collection {alias!r} that is not an alias; rename it."
                    )
                if not client.has_collection(physical, timeout=self._timeout_s):
                    self._create(physical, embedder=embedder, dimension=dimension)
        self._generations.pop(physical, None)
        made = self._generation(alias, physical)
        check_embedder(made, embedder=embedder)
        if made.dimension != dimension:
            raise InputError(
                f"Collection {alias!r} has {made.dimension} dimensions, embedder {embedder} makes {dimension}."
            )
        return made

    def point_alias(self, alias: str, physical: str) -> None:
        """Make `alias` name `physical`, which readers see at once."""
        with translated(self.uri, "set alias"):
            current = self.resolve(alias)
            if current is None:
                self.client().create_alias(physical, alias, timeout=self._timeout_s)
            elif current != physical:
                self.client().alter_alias(physical, alias, timeout=self._timeout_s)

    def drop(self, collection: str) -> None:
        """Remove an alias and the physical collection behind it."""
        info = self.describe(collection)
        with translated(self.uri, "drop collection"):
            self.client().drop_alias(collection, timeout=self._timeout_s)
            self.client().drop_collection(info.physical, timeout=self._timeout_s)

    # Chunks

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
            self.client().flush(physical, timeout=max(self._timeout_s, 120.0))

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
        pages = self._read(
            physical,
            lambda client: client.query_iterator(
                physical,
                filter=expression,
                output_fields=["chunk_id", "document_id", "document_hash", "chunk_count"],
                batch_size=_ITERATOR_BATCH,
                consistency_level="Strong",
                timeout=self._timeout_s,
            ),
        )
        with translated(self.uri, f"scan {physical}"):
            try:
                while page := pages.next():
                    for row in page:
                        yield StoredRow(
                            chunk_id=str(row["chunk_id"]),
                            document_id=str(row["document_id"]),
                            document_hash=str(row["document_hash"]),
                            chunk_count=int(row["chunk_count"]),
                        )
            finally:
                pages.close()

    def delete_chunks(self, physical: str, chunk_ids: Sequence[str], *, batch: int = 500) -> int:
        """Delete rows by primary key; returns how many were asked for."""
        for start in range(0, len(chunk_ids), batch):
            with translated(self.uri, f"delete from {physical}"):
                expression = chunks_are(chunk_ids[start : start + batch])
                self.client().delete(physical, filter=expression, timeout=self._timeout_s)
        return len(chunk_ids)

    # Search: one list of passages per query, best first

    def search_dense(
        self, physical: str, vectors: NDArray[np.float32], *, tenant: str, k: int
    ) -> list[tuple[Passage, ...]]:
        """Search by cosine similarity; scores lie in -1 to 1."""
        found = self._read(
            physical,
            lambda client: client.search(
                physical,
                data=list(vectors),
                anns_field="dense",
                filter=tenant_is(tenant),
                limit=k,
                output_fields=PASSAGE_FIELDS,
                search_params={"metric_type": "COSINE", "params": {"ef": max(_MIN_EF, 2 * k)}},
                timeout=self._timeout_s,
            ),
        )
        return [_passages(hits) for hits in found]

    def search_text(self, physical: str, queries: Sequence[str], *, tenant: str, k: int) -> list[tuple[Passage, ...]]:
        """Search by BM25 over title, headings and text; scores have no fixed range."""
        found = self._read(
            physical,
            lambda client: client.search(
                physical,
                data=list(queries),
                anns_field="sparse",
                filter=tenant_is(tenant),
                limit=k,
                output_fields=PASSAGE_FIELDS,
                search_params={"metric_type": "BM25"},
                timeout=self._timeout_s,
            ),
        )
        return [_passages(hits, bm25=True) for hits in found]

    def search_hybrid(
        self,
        physical: str,
        queries: Sequence[str],
        vectors: NDArray[np.float32],
        *,
        tenant: str,
        k: int,
        dense_weight: float,
    ) -> list[tuple[Passage, ...]]:
        """Search both ways and fuse by weight; each arm's scores are first mapped to 0 to 1 by Milvus."""
        candidates = max(_MIN_CANDIDATES, 4 * k)
        dense = AnnSearchRequest(
            data=list(vectors),
            anns_field="dense",
            param={"metric_type": "COSINE", "params": {"ef": max(_MIN_EF, 2 * candidates)}},
            limit=candidates,
            expr=tenant_is(tenant),
        )
        sparse = AnnSearchRequest(
            data=list(queries),
            anns_field="sparse",
            param={"metric_type": "BM25"},
            limit=candidates,
            expr=tenant_is(tenant),
        )
        found = self._read(
            physical,
            lambda client: client.hybrid_search(
                physical,
                [dense, sparse],
                WeightedRanker(dense_weight, 1.0 - dense_weight, norm_score=True),
                limit=k,
                output_fields=PASSAGE_FIELDS,
                timeout=self._timeout_s,
            ),
        )
        return [_passages(hits) for hits in found]

    def _read(self, physical: str, ask: Callable[[MilvusClient], _Found]) -> _Found:
        """Ask a collection; one that the server has not loaded, as after its restart, is loaded first."""
        with translated(self.uri, f"read {physical}"):
            try:
                return ask(self.client())
            except MilvusException as error:
                if error.code != _NOT_LOADED:
                    raise
            self.client().load_collection(physical, timeout=max(self._timeout_s, 60.0))
            return ask(self.client())

    def _create(self, physical: str, *, embedder: str, dimension: int) -> None:
        try:
            self.client().create_collection(
                physical,
                schema=collection_schema(dimension=dimension, embedder=embedder),
                index_params=collection_indexes(),
                num_partitions=PARTITIONS,
                properties=collection_properties(dimension=dimension, embedder=embedder),
                timeout=max(self._timeout_s, 60.0),
            )
        except MilvusException as error:
            if "already exist" not in str(error.message):  # another process was quicker; what it made is checked next
                raise

    def _generation(self, alias: str, physical: str) -> Generation:
        known = self._generations.get(physical)
        if known is not None and time.monotonic() - known[0] < _DESCRIBED_FOR_S and known[1].alias == alias:
            return known[1]
        with translated(self.uri, f"describe {physical}"):
            details = self.client().describe_collection(physical, timeout=self._timeout_s)
        made = read_generation(details, alias=alias, physical=physical)
        if made is None:
            raise ConflictError(
                f"Collection {physical!r} at {self.uri} does not record its embedder, so Graftwork did not make it; "
                "choose another collection name."
            )
        self._generations[physical] = (time.monotonic(), made)
        return made

    def _unknown(self, collection: str) -> NotFoundError:
        return NotFoundError(
            f"Collection {collection!r} does not exist at {self.uri}; "
            f"index documents into it first (graftwork index PATH --collection {collection})."
        )


def _passages(hits: Sequence[Mapping[str, object]], *, bm25: bool = False) -> tuple[Passage, ...]:
    """Return hits as passages; milvus-lite gives BM25 scores below zero, the server above, both best first."""
    found = []
    for hit in hits:
        entity = hit["entity"]
        assert isinstance(entity, Mapping)
        row = {**entity, "chunk_id": hit["chunk_id"]}
        score = float(str(hit["distance"]))
        found.append(passage_from_row(row, score=abs(score) if bm25 else score))
    return tuple(found)


def _is_not_found(error: MilvusException) -> bool:
    text = str(error.message).lower()
    return error.code == _NOT_FOUND or "not found" in text or "not exist" in text
