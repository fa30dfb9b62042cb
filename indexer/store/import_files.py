"""The Parquet files that Milvus imports: their columns, and the folder in the store that Milvus itself reads."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from pymilvus import CollectionSchema, DataType

from indexer.errors import InputError, UnavailableError
from indexer.sources.stores import cause, filesystem
from indexer.sources.uris import LocalPlace, is_file_uri, parse_place

_COLUMNS = {
    DataType.VARCHAR: pa.string(),
    DataType.INT64: pa.int64(),
    DataType.JSON: pa.string(),
    DataType.FLOAT_VECTOR: pa.list_(pa.float32()),
}


@dataclass(frozen=True, slots=True)
class ImportFile:
    """A written file.

    Attributes:
        path: What the server is told: the key below its bucket, or the absolute path on its disk.
        rows: Number of rows in it.
    """

    path: str
    rows: int


@dataclass(frozen=True, slots=True)
class ImportFolder:
    """The folder for the files of one generation.

    Attributes:
        root: URI that the settings give: `s3://bucket/prefix` and the like, or `file:///folder`.
        physical: Name of the physical collection, and of the folder below the root.
    """

    root: str
    physical: str

    def clear(self) -> None:
        """Delete what earlier runs left there, and see that it can be written.

        Raises:
            InputError: The URI names no folder.
            UnavailableError: The store cannot be reached or refuses.
        """
        files, base, key = self._opened()
        with self._told():
            if isinstance(files, fs.LocalFileSystem):
                files.create_dir(f"{base}{key}")
            files.delete_dir_contents(f"{base}{key}", missing_dir_ok=True)
            probe = f"{base}{key}/writable"
            with files.open_output_stream(probe) as stream:
                stream.write(b"yes")
            files.delete_file(probe)

    def write(self, tables: Iterator[pa.Table]) -> ImportFile | None:
        """Write tables into the row groups of one file with a name of its own; None where there is no table.

        Raises:
            UnavailableError: The store cannot be reached or refuses.
        """
        first = next(tables, None)
        if first is None:
            return None
        files, base, key = self._opened()
        path, rows = f"{key}/{uuid.uuid4().hex}.parquet", 0
        with self._told(), pq.ParquetWriter(f"{base}{path}", first.schema, filesystem=files) as writer:
            for table in chain([first], tables):
                writer.write_table(table)
                rows += table.num_rows
        return ImportFile(path=path, rows=rows)

    def _opened(self) -> tuple[fs.FileSystem, str, str]:
        """Return the filesystem, what stands before the key in its paths, and the folder's key."""
        place = parse_place(self.root, azure_account=os.environ.get("AZURE_STORAGE_ACCOUNT"))
        if isinstance(place, LocalPlace):
            if not is_file_uri(self.root):
                raise InputError(
                    f"indexer.bulk_uri {self.root!r} is no URI; give s3://BUCKET/PREFIX or file:///FOLDER, where the "
                    "Milvus server reads."
                )
            return fs.LocalFileSystem(), "", f"{str(place.path).rstrip('/')}/{self.physical}"
        if place.pattern is not None:
            raise InputError(f"indexer.bulk_uri {self.root!r} is a pattern; give one folder.")
        with self._told():
            return filesystem(place.bucket), f"{place.bucket.name}/", f"{place.key}/{self.physical}".lstrip("/")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowInvalid) as error:
            raise UnavailableError(
                f"indexer.bulk_uri {self.root} cannot be written from {os.uname().nodename} ({cause(error)}); see that "
                "it can be reached from there and that the credentials there (of a worker those of `graftwork up`) "
                "may list, write and delete."
            ) from error


def import_columns(schema: CollectionSchema) -> pa.Schema:
    """Return the columns of a file: all fields but those that the server computes itself, such as BM25's."""
    return pa.schema([(field.name, _COLUMNS[field.dtype]) for field in schema.fields if not field.is_function_output])


def import_table(rows: Sequence[Mapping[str, object]], *, schema: CollectionSchema) -> pa.Table:
    """Return rows, as pymilvus upserts them, in the columns of a file; JSON is text there."""
    columns = import_columns(schema)
    as_text = {field.name for field in schema.fields if field.dtype == DataType.JSON}
    return pa.table(
        {name: [json.dumps(row[name]) if name in as_text else row[name] for row in rows] for name in columns.names},
        schema=columns,
    )
