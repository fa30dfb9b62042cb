"""The Arrow rows that pass between Ray Data's operators; nothing else knows their columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexer.run.state import Fingerprint
from indexer.types import Chunk, FailedDocument, SourceFile

_STRINGS = pa.list_(pa.string())
_PAIRS = pa.map_(pa.string(), pa.string())

SOURCE_SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("media_type", pa.string()),
        ("bytes", pa.int64()),
        ("source_id", pa.string()),
        ("skip", _STRINGS),
    ]
)

_FAILURE_FIELDS = [(f"failed_{field.name}", pa.string()) for field in fields(FailedDocument)]

FINGERPRINT_SCHEMA = pa.schema(
    [
        ("source_id", pa.string()),
        ("key", pa.string()),
        ("document_id", pa.string()),
        ("document_hash", pa.string()),
        *_FAILURE_FIELDS,
    ]
)

CHUNK_SCHEMA = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("document_id", pa.string()),
        ("document_hash", pa.string()),
        ("title", pa.string()),
        ("heading_path", _STRINGS),
        ("uri", pa.string()),
        ("page", pa.int32()),
        ("ordinal", pa.int32()),
        ("chunk_count", pa.int32()),
        ("text", pa.string()),
        ("search_text", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("metadata", _PAIRS),
        ("vector", pa.list_(pa.float32())),
        ("embedded", pa.bool_()),
        *_FAILURE_FIELDS,
    ]
)


def sources_to_rows(sources: Iterable[tuple[SourceFile, tuple[str, ...]]]) -> list[dict[str, object]]:
    """Return rows of SOURCE_SCHEMA for files and the keys inside them to pass over."""
    return [
        {
            "uri": source.uri,
            "media_type": source.media_type,
            "bytes": source.bytes,
            "source_id": source.source_id,
            "skip": list(skip),
        }
        for source, skip in sources
    ]


def sources_from_table(table: pa.Table) -> Iterator[tuple[SourceFile, frozenset[str]]]:
    """Yield the files in a table of SOURCE_SCHEMA with the keys to pass over."""
    for row in table.to_pylist():
        source = SourceFile(
            uri=row["uri"],
            media_type=row["media_type"],
            bytes=row["bytes"],
            source_id=row["source_id"],
        )
        yield source, frozenset(row["skip"])


def fingerprints_to_table(found: Iterable[Fingerprint | tuple[str, FailedDocument]]) -> pa.Table:
    """Return a table of FINGERPRINT_SCHEMA; a failure comes with the source id it belongs to."""
    rows: list[dict[str, object]] = []
    for item in found:
        if isinstance(item, Fingerprint):
            rows.append(
                {
                    "source_id": item.source_id,
                    "key": item.key,
                    "document_id": item.document_id,
                    "document_hash": item.document_hash,
                }
            )
        else:
            rows.append({"source_id": item[0], **_failure_row(item[1])})
    return pa.Table.from_pylist(rows, schema=FINGERPRINT_SCHEMA)


def fingerprints_from_table(table: pa.Table) -> Iterator[Fingerprint | tuple[str, FailedDocument]]:
    """Yield what `fingerprints_to_table` stored."""
    for row in table.to_pylist():
        if row["failed_uri"] is None:
            yield Fingerprint(
                source_id=row["source_id"],
                key=row["key"],
                document_id=row["document_id"],
                document_hash=row["document_hash"],
            )
        else:
            yield row["source_id"], _failure(row)


def chunks_to_table(
    items: Iterable[Chunk | FailedDocument], *, stored: Mapping[str, NDArray[np.float32]] = MappingProxyType({})
) -> pa.Table:
    """Return a table of CHUNK_SCHEMA; failed documents travel along as rows of their own.

    Args:
        items: The rows.
        stored: Vectors that are known, by chunk id; the others are not set.
    """
    rows = [
        _failure_row(item)
        if isinstance(item, FailedDocument)
        else {**_chunk_row(item), "vector": stored.get(item.chunk_id), "embedded": False}
        for item in items
    ]
    return pa.Table.from_pylist(rows, schema=CHUNK_SCHEMA)


def texts_to_embed(table: pa.Table) -> list[str]:
    """Return the texts of the chunks whose vectors are not set."""
    texts = table.column("search_text").to_pylist()
    return [text for text, lacks in zip(texts, _without_vector(table), strict=True) if lacks]


def with_vectors(table: pa.Table, vectors: NDArray[np.float32]) -> pa.Table:
    """Return the table with the vectors of shape [texts, dimension] set, in the order of `texts_to_embed`."""
    missing = _without_vector(table)
    known = table.column("vector").combine_chunks()
    coming = iter(np.ascontiguousarray(vectors, dtype=np.float32))
    each = [next(coming) if lacks else known[row].values for row, lacks in enumerate(missing)]
    lengths = [0 if vector is None else len(vector) for vector in each]
    flat = np.concatenate([np.asarray(vector, dtype=np.float32) for vector in each if vector is not None])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    columns = {"vector": pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat)), "embedded": pa.array(missing)}
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), CHUNK_SCHEMA.field(name), column)
    return table


def embedded_count(table: pa.Table, *, without: Collection[str] = ()) -> int:
    """Return the number of chunks whose vectors `with_vectors` set, those of some documents left out."""
    ids, embedded = table.column("document_id"), table.column("embedded")
    left_out = pc.is_in(ids, value_set=pa.array(list(without), type=pa.string()))
    return pc.sum(pc.and_not(embedded, left_out)).as_py() or 0


def _without_vector(table: pa.Table) -> NDArray[np.bool_]:
    has_text, lacks = table.column("search_text").is_valid(), table.column("vector").is_null()
    return np.asarray(has_text.to_numpy() & lacks.to_numpy(), dtype=np.bool_)


def chunks_from_table(table: pa.Table) -> tuple[list[Chunk], NDArray[np.float32], list[FailedDocument]]:
    """Return the chunks, their vectors of shape [chunks, dimension], and the failed documents in a table."""
    lists = table.column("vector").combine_chunks()
    failures: list[FailedDocument] = []
    chunks: list[Chunk] = []
    vectors: list[NDArray[np.float32]] = []
    for index, row in enumerate(table.drop_columns(["vector", "embedded"]).to_pylist()):
        if row["failed_uri"] is not None:
            failures.append(_failure(row))
            continue
        chunks.append(_chunk(row))
        vectors.append(np.asarray(lists[index].values, dtype=np.float32))
    stacked = np.stack(vectors) if vectors else np.zeros((0, 0), dtype=np.float32)
    return chunks, stacked, failures


def _failure_row(failure: FailedDocument) -> dict[str, object]:
    return {f"failed_{name}": value for name, value in asdict(failure).items()}


def _failure(row: dict[str, str]) -> FailedDocument:
    return FailedDocument(**{field.name: row[f"failed_{field.name}"] for field in fields(FailedDocument)})


def _chunk_row(chunk: Chunk) -> dict[str, object]:
    return {
        "chunk_id": chunk.chunk_id,
        "document_id": chunk.document_id,
        "document_hash": chunk.document_hash,
        "title": chunk.title,
        "heading_path": list(chunk.heading_path),
        "uri": chunk.uri,
        "page": chunk.page,
        "ordinal": chunk.ordinal,
        "chunk_count": chunk.chunk_count,
        "text": chunk.text,
        "search_text": chunk.search_text,
        "start": chunk.start,
        "end": chunk.end,
        "metadata": list(chunk.metadata),
    }


def _chunk(row: dict[str, object]) -> Chunk:
    members = {name: value for name, value in row.items() if not name.startswith("failed_")}
    heading_path, metadata = members.pop("heading_path"), members.pop("metadata")
    assert isinstance(heading_path, list)
    assert isinstance(metadata, list)
    return Chunk(**members, heading_path=tuple(heading_path), metadata=tuple(metadata))  # type: ignore[arg-type]
