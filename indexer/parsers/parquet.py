"""Parquet: one document per row; columns `text` or `content`, `id`, `title`, `uri` or `url`, and `metadata`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
from pyarrow import parquet

from indexer.parsers.base import ParsedDocument, ParseError, RawDocument, SplitFailure
from indexer.parsers.json_lines import JsonLinesParser
from indexer.text import clean

_COLUMNS = {"id": ("id",), "text": ("text", "content"), "title": ("title",), "url": ("uri", "url")}
_METADATA = "metadata"
_BATCH_BYTES = 8 << 20  # decoded at a time, by the row group's mean; a batch has at least one row
_BATCH_ROWS = 1024
_BUFFER_BYTES = 1 << 20  # per column: pages are read one after another, not a column chunk at once


@dataclass(frozen=True, slots=True)
class _Columns:
    """Names in this file of the columns that are read, by the name of the field that they become."""

    by_field: dict[str, str]
    metadata: bool

    def names(self) -> list[str]:
        return [*self.by_field.values(), *([_METADATA] if self.metadata else [])]


class ParquetParser:
    """Reads tables of documents, row group by row group.

    A document's key is its `id`, else `R<row number>`, counted from 1. Other columns are not read.
    """

    media_type = "application/vnd.apache.parquet"
    extensions = (".parquet",)
    version = 1

    def split(self, stream: BinaryIO, *, max_bytes: int) -> Iterator[RawDocument | SplitFailure]:
        """Yield a document per row; a bad row, or a row group that is damaged, is a failure of its own.

        Raises:
            ParseError: This is no Parquet file, or it has no column of texts.
        """
        table = _open(stream)
        columns = _columns(table.schema_arrow)
        rows_by_key: dict[str, int] = {}
        first = 1
        for group in range(table.num_row_groups):
            last = first + table.metadata.row_group(group).num_rows - 1
            number = first
            try:
                for batch in table.iter_batches(
                    _batch_rows(table.metadata.row_group(group), columns), row_groups=[group], columns=columns.names()
                ):
                    for index in range(batch.num_rows):
                        yield _row(batch, index, number, columns, rows_by_key, max_bytes)
                        number += 1
            except (OSError, ValueError, NotImplementedError) as error:
                reason = f"rows {number} to {last} cannot be read ({_first_line(error)})"
                yield SplitFailure(f"R{number}-R{last}", reason)
            first = last + 1

    def parse(self, raw: RawDocument) -> ParsedDocument:
        """Return the paragraphs of the text; a row has the shape of a JSON line by now."""
        return JsonLinesParser().parse(raw)


def _open(stream: BinaryIO) -> parquet.ParquetFile:
    unbuffered = stream.raw if isinstance(stream, io.BufferedReader) else stream  # what is read lies far apart
    try:
        return parquet.ParquetFile(unbuffered, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ParseError(f"this is no Parquet file that can be read ({_first_line(error)})") from error


def _columns(schema: pa.Schema) -> _Columns:
    by_field: dict[str, str] = {}
    for field, names in _COLUMNS.items():
        name = next((name for name in names if name in schema.names), None)
        if name is not None:
            _check_type(field, name, schema.field(name).type)
            by_field[field] = name
    if "text" not in by_field:
        there = ", ".join(schema.names[:20])
        raise ParseError(f"no column `text` or `content` of texts; there are {there or 'none'}")
    return _Columns(by_field, metadata=_METADATA in schema.names)


def _check_type(field: str, name: str, kind: pa.DataType) -> None:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if _is_text(plain) or (field == "id" and pa.types.is_integer(plain)):
        return
    needed = "text or whole numbers are needed" if field == "id" else "text is needed"
    raise ParseError(f"the column `{name}` is of the type {kind}; {needed}")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _batch_rows(group: parquet.RowGroupMetaData, columns: _Columns) -> int:
    """Return how many rows are decoded at once; a text that is stored once for many rows counts for each."""
    names = set(columns.names())
    size = 0
    for index in range(group.num_columns):
        column = group.column(index)
        if column.path_in_schema.partition(".")[0] in names:
            size += column.total_uncompressed_size * (_BATCH_ROWS if column.has_dictionary_page else 1)
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * int(group.num_rows) // max(size, 1)))


def _row(
    batch: pa.RecordBatch, index: int, number: int, columns: _Columns, rows_by_key: dict[str, int], max_bytes: int
) -> RawDocument | SplitFailure:
    place = f"R{number}"
    try:
        record: dict[str, object] = {
            field: batch.column(name)[index].as_py() for field, name in columns.by_field.items()
        }
        if columns.metadata:
            record = {**_pairs(batch.column(_METADATA)[index].as_py()), **record}
    except (ValueError, ParseError) as error:
        return SplitFailure(place, f"row {number}: {_first_line(error)}")
    if record["text"] is None:
        return SplitFailure(place, f"row {number}: no text in the column `{columns.by_field['text']}`")
    content = json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if len(content) > max_bytes:
        return SplitFailure(place, f"row {number} is larger than {max_bytes} bytes (max_document_bytes)")
    given = record.get("id")
    key = (clean(str(given)) if given is not None else "") or place
    if rows_by_key.setdefault(key, number) != number:
        return SplitFailure(place, f"row {number}: id {key!r} stands already in row {rows_by_key[key]}")
    return RawDocument(key=key, content=content)


def _pairs(metadata: object) -> dict[str, object]:
    """Return the fields of a metadata cell: a struct, a map or a JSON object as text."""
    if metadata is None or metadata == "":
        return {}
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata)
        except (ValueError, RecursionError) as error:
            raise ParseError(f"the column `{_METADATA}` is not JSON ({error})") from error
    if isinstance(metadata, list) and all(isinstance(pair, tuple) for pair in metadata):
        metadata = dict(metadata)
    if not isinstance(metadata, dict):
        raise ParseError(f"the column `{_METADATA}` must hold an object, this is {type(metadata).__name__}")
    return {
        str(name): value if isinstance(value, str | int | float | bool) else str(value)
        for name, value in metadata.items()
        if value is not None
    }


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
