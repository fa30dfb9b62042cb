"""Files for Milvus's import, read back by pyarrow from a disk and from a real S3 server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymilvus import DataType

from indexer.chunking.chunker import ChunkerSettings
from indexer.chunking.chunks import make_chunks
from indexer.chunking.tokens import EmbedderTokenizer
from indexer.errors import InputError, UnavailableError
from indexer.sources.stores import filesystem
from indexer.sources.uris import Bucket
from indexer.store.import_files import ImportFolder, import_columns, import_table
from indexer.store.schema import collection_schema, row_from_chunk
from indexer.types import Identity
from tests.indexer.making import chunk, document, unit_vectors
from tests.s3 import S3Server

DIMENSION = 8
SCHEMA = collection_schema(Identity(embedder="m@1", dimension=DIMENSION, chunker="", parsers=(), schema=1))
TABLE = import_table([row_from_chunk(chunk("Words."), unit_vectors(1)[0], tenant="t")], schema=SCHEMA)
# https://milvus.io/docs/prepare-source-data.md: what a Parquet column of each of Milvus's types has to be
ARROW_TYPES = {
    DataType.VARCHAR: pa.types.is_string,
    DataType.INT64: pa.types.is_int64,
    DataType.JSON: pa.types.is_string,
    DataType.FLOAT_VECTOR: lambda found: pa.types.is_list(found) and pa.types.is_float32(found.value_type),
}


def test_the_file_of_real_chunks_holds_each_field_of_the_schema_by_type_and_value(
    tmp_path: Path, tokenizer: EmbedderTokenizer
) -> None:
    text = document(
        ("heading", "Bees", ("Bees",)),
        ("paragraph", 'Honey & “wax” – ünïcode 🐝, a \\ and a " and a\ttab. ' * 20, ("Bees",)),
        ("paragraph", "Pollen.", ("Bees",)),
    )
    chunks = make_chunks(
        text,
        tenant="größe",
        document_hash="h1",
        tokens=tokenizer,
        settings=ChunkerSettings(chunk_tokens=32, overlap_tokens=4, prefix_tokens=8),
    )
    assert len(chunks) > 5
    vectors = unit_vectors(len(chunks), DIMENSION)
    rows = [row_from_chunk(one, vector, tenant="größe") for one, vector in zip(chunks, vectors, strict=True)]
    folder = ImportFolder(root=tmp_path.as_uri(), physical="bees__g1")
    folder.clear()
    half = len(rows) // 2
    written = folder.write(import_table(part, schema=SCHEMA) for part in (rows[:half], rows[half:]))
    assert written is not None
    assert (written.rows, Path(written.path).parent) == (len(chunks), tmp_path / "bees__g1")

    read = pq.ParquetFile(written.path)
    assert read.metadata.num_row_groups == 2
    back = read.read()
    fields = {field.name: field for field in SCHEMA.fields}
    assert set(fields) - set(back.column_names) == {"sparse"}
    assert fields["sparse"].is_function_output
    for column in back.schema:
        field = fields[column.name]
        assert ARROW_TYPES[field.dtype](column.type), column
        assert back.column(column.name).null_count == 0
        values = back.column(column.name).to_pylist()
        if field.dtype == DataType.JSON:
            assert [json.loads(value) for value in values] == [row[column.name] for row in rows]
        elif field.dtype == DataType.FLOAT_VECTOR:
            assert {len(value) for value in values} == {field.params["dim"]}
            assert np.array_equal(np.array(values, dtype=np.float32), vectors)
        else:
            assert values == [row[column.name] for row in rows]
            if field.dtype == DataType.VARCHAR:
                assert max(len(value.encode()) for value in values) <= field.params["max_length"]


def test_a_field_that_the_server_computes_is_not_asked_for() -> None:
    assert "sparse" not in import_columns(SCHEMA).names
    assert len(import_columns(SCHEMA)) == len(SCHEMA.fields) - 1


def test_nothing_to_write_makes_no_file(tmp_path: Path) -> None:
    assert ImportFolder(root=tmp_path.as_uri(), physical="c__g1").write(iter(())) is None
    assert list(tmp_path.rglob("*")) == []


def test_files_in_a_bucket_are_named_by_their_keys_and_cleared_with_their_folder_only(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    filesystem.cache_clear()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecret")
    s3.start_with("milvus")
    s3.put("milvus", "imports/c__g10/other.parquet", "of another generation")
    options = tuple(sorted({"endpoint_override": s3.address, "scheme": "http"}.items()))
    bucket = filesystem(Bucket("s3", "milvus", options=options))
    folder = ImportFolder(root=f"s3://milvus/imports{s3.query}", physical="c__g1")
    folder.clear()
    first, second = folder.write(iter([TABLE])), folder.write(iter([TABLE]))
    assert first is not None
    assert second is not None
    assert first.path != second.path
    assert first.path.startswith("imports/c__g1/")
    assert pq.read_table(f"milvus/{first.path}", filesystem=bucket).equals(TABLE)
    folder.clear()
    assert [info.type.name for info in bucket.get_file_info([f"milvus/{first.path}", f"milvus/{second.path}"])] == [
        "NotFound",
        "NotFound",
    ]
    assert bucket.get_file_info("milvus/imports/c__g10/other.parquet").is_file
    root = ImportFolder(root=f"s3://milvus{s3.query}", physical="c__g1")
    at_root = root.write(iter([TABLE]))
    assert at_root is not None
    assert at_root.path.startswith("c__g1/")
    with pytest.raises(UnavailableError, match=r"bulk_uri s3://nobucket.* cannot be written from .*write and delete"):
        ImportFolder(root=f"s3://nobucket/x{s3.query}", physical="c__g1").clear()
    filesystem.cache_clear()


@pytest.mark.parametrize(
    ("root", "text"), [("/plain/path", "is no URI"), ("s3://b/*.x", "is a pattern"), ("ftp://b/x", "ftp://")]
)
def test_what_names_no_folder_is_refused(root: str, text: str) -> None:
    with pytest.raises(InputError, match=text):
        ImportFolder(root=root, physical="c__g1").clear()


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnavailableError, match=r"bulk_uri file:///.*file cannot be written from"):
        ImportFolder(root=(tmp_path / "file").as_uri(), physical="c__g1").clear()
