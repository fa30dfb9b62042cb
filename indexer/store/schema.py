"""The Milvus schema of a generation, and how a chunk becomes a row and back."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray
from pymilvus import CollectionSchema, DataType, Function, FunctionType, MilvusClient
from pymilvus.milvus_client.index import IndexParams

from indexer.identity import DOCUMENT_ID_MAX_BYTES
from indexer.passages import Passage
from indexer.sources.provenance import URI_MAX_BYTES
from indexer.store.expressions import TENANT_MAX_BYTES
from indexer.store.options import DEFAULT_OPTIONS, StoreOptions
from indexer.text import clip
from indexer.types import Chunk, Identity

TITLE_MAX_BYTES = 1024
TEXT_MAX_BYTES = 65_535  # Milvus's own limit for VARCHAR
HASH_BYTES = 64
PARTITIONS = 16  # tenants are hashed over these; milvus-lite and current servers default to the same
NO_PAGE = 0

INDEXED_FIELDS = ("dense", "sparse")
SCHEMA_VERSION = 1  # raise it when fields or indexes change: the next run then builds a new generation
EMBEDDER_PROPERTY = "graftwork.embedder"
DIMENSION_PROPERTY = "graftwork.dimension"
CHUNKER_PROPERTY = "graftwork.chunker"
PARSERS_PROPERTY = "graftwork.parsers"
SCHEMA_PROPERTY = "graftwork.schema"
VECTORS_PROPERTY = "graftwork.vectors"
VERIFIED_PROPERTY = "graftwork.verified"
VECTORS = "float32 of unit length"  # as `embedding.embedder` makes them, for people who look with other tools
ROLLED_BACK_PROPERTY = "graftwork.rolled_back"
ADVISED_PROPERTY = "graftwork.advised"

PASSAGE_FIELDS = [
    "chunk_id",
    "document_id",
    "title",
    "heading_path",
    "uri",
    "page",
    "ordinal",
    "text",
    "span_start",
    "span_end",
]


def collection_schema(identity: Identity) -> CollectionSchema:
    """Return the schema of a generation; its description repeats the embedder for people who look with other tools."""
    description = json.dumps({"made_by": "graftwork", "embedder": identity.embedder, "dimension": identity.dimension})
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
    schema.add_field("chunk_id", DataType.VARCHAR, max_length=HASH_BYTES, is_primary=True)
    schema.add_field("tenant", DataType.VARCHAR, max_length=TENANT_MAX_BYTES, is_partition_key=True)
    schema.add_field("document_id", DataType.VARCHAR, max_length=DOCUMENT_ID_MAX_BYTES)
    schema.add_field("document_hash", DataType.VARCHAR, max_length=HASH_BYTES)
    schema.add_field("title", DataType.VARCHAR, max_length=TITLE_MAX_BYTES)
    schema.add_field("heading_path", DataType.JSON)
    schema.add_field("uri", DataType.VARCHAR, max_length=URI_MAX_BYTES)
    schema.add_field("page", DataType.INT64)
    schema.add_field("ordinal", DataType.INT64)
    schema.add_field("chunk_count", DataType.INT64)
    schema.add_field("span_start", DataType.INT64)
    schema.add_field("span_end", DataType.INT64)
    schema.add_field("text", DataType.VARCHAR, max_length=TEXT_MAX_BYTES)
    schema.add_field(
        "search_text",
        DataType.VARCHAR,
        max_length=TEXT_MAX_BYTES,
        enable_analyzer=True,
        analyzer_params={"type": "standard"},  # milvus-lite has no `english`: no stemming and no stop words anywhere
    )
    schema.add_field("metadata", DataType.JSON)
    schema.add_field("updated_at", DataType.INT64, description="Unix time in milliseconds")
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=identity.dimension)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(
        Function(
            name="bm25",
            function_type=FunctionType.BM25,
            input_field_names=["search_text"],
            output_field_names=["sparse"],
        )
    )
    return schema


def collection_properties(identity: Identity) -> dict[str, str]:
    """Return the properties that record the identity; milvus-lite keeps these and drops the description."""
    return {
        EMBEDDER_PROPERTY: identity.embedder,
        DIMENSION_PROPERTY: str(identity.dimension),
        CHUNKER_PROPERTY: identity.chunker,
        PARSERS_PROPERTY: " ".join(identity.parsers),
        SCHEMA_PROPERTY: str(identity.schema),
        VECTORS_PROPERTY: VECTORS,
    }


def collection_indexes(
    fields: Collection[str] = INDEXED_FIELDS, *, options: StoreOptions = DEFAULT_OPTIONS
) -> IndexParams:
    """Return HNSW over the dense vectors and an inverted index, without algorithm parameters, over the sparse ones.

    Args:
        fields: For which of the two fields.
        options: Says how closely HNSW links the vectors.
    """
    indexes = MilvusClient.prepare_index_params()
    if "dense" in fields:
        links = {"M": options.hnsw_m, "efConstruction": options.hnsw_ef_construction}
        indexes.add_index("dense", index_type="HNSW", metric_type="COSINE", params=links)
    if "sparse" in fields:
        indexes.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    return indexes


def row_from_chunk(chunk: Chunk, vector: NDArray[np.float32], *, tenant: str) -> dict[str, object]:
    """Return the row that pymilvus upserts."""
    return {
        "chunk_id": chunk.chunk_id,
        "tenant": tenant,
        "document_id": chunk.document_id,
        "document_hash": chunk.document_hash,
        "title": clip(chunk.title, TITLE_MAX_BYTES),
        "heading_path": list(chunk.heading_path),
        "uri": clip(chunk.uri, URI_MAX_BYTES),
        "page": NO_PAGE if chunk.page is None else chunk.page,
        "ordinal": chunk.ordinal,
        "chunk_count": chunk.chunk_count,
        "span_start": chunk.start,
        "span_end": chunk.end,
        "text": clip(chunk.text, TEXT_MAX_BYTES),
        "search_text": clip(chunk.search_text, TEXT_MAX_BYTES),
        "metadata": dict(chunk.metadata),
        "updated_at": int(time.time() * 1000),
        "dense": vector,
    }


def passage_from_row(row: Mapping[str, object], *, score: float) -> Passage:
    """Return the passage in a row that carries PASSAGE_FIELDS."""
    page = int(str(row["page"]))
    return Passage(
        chunk_id=str(row["chunk_id"]),
        document_id=str(row["document_id"]),
        title=str(row["title"]),
        heading_path=headings(row["heading_path"]),
        uri=str(row["uri"]),
        page=None if page == NO_PAGE else page,
        ordinal=int(str(row["ordinal"])),
        text=str(row["text"]),
        score=score,
        start=int(str(row["span_start"])),
        end=int(str(row["span_end"])),
    )


def headings(value: object) -> tuple[str, ...]:
    """Return the headings in a row's field, which servers give as text or as a list."""
    decoded = json.loads(value) if isinstance(value, str | bytes) else value
    return tuple(str(part) for part in decoded) if isinstance(decoded, list) else ()
