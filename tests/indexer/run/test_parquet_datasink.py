from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray.data.datasource.datasink import WriteResult

from indexer.errors import InputError
from indexer.run import parquet_datasink
from indexer.run.datasink import WriteOutcome
from indexer.run.parquet_datasink import ParquetDatasink
from indexer.run.tables import chunks_to_table, with_vectors
from indexer.store.import_files import ImportFolder
from indexer.types import FailedDocument, Identity
from tests.indexer.making import chunk, unit_vectors

IDENTITY = Identity(embedder="m@1", dimension=8, chunker="", parsers=(), schema=1)


def test_a_repeated_task_writes_a_file_of_its_own_and_only_what_its_answer_names_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_datasink, "_ROWS_PER_GROUP", 2)
    folder = ImportFolder(root=tmp_path.as_uri(), physical="c__g1")
    folder.clear()
    sink = pickle.loads(pickle.dumps(ParquetDatasink(folder=folder, identity=IDENTITY, tenant="t")))
    failed = FailedDocument(uri="file:///x", stage="parse", reason="bad")
    items = [chunk(f"t{n}", ordinal=n, document_id=f"d/{n % 2}", chunk_count=3) for n in range(5)]
    vectors = unit_vectors(5)
    tables = [
        with_vectors(chunks_to_table([*items[:3], failed]), vectors[:3]),
        chunks_to_table([]),
        with_vectors(chunks_to_table(items[3:]), vectors[3:]),
    ]
    first, second = sink.write(iter(tables), None), sink.write(iter(tables), None)
    assert (first.documents, first.failures) == (second.documents, second.failures)
    assert {name: (done.rows, done.chunk_count) for name, done in first.documents.items()} == {
        "d/0": (3, 3),
        "d/1": (2, 3),
    }
    assert first.failures == [failed]
    [one], [other] = first.files, second.files
    assert one.path != other.path
    assert (one.rows, other.rows) == (5, 5)
    assert len(list((tmp_path / "c__g1").iterdir())) == 2
    read = pq.read_table(one.path)
    assert read.column("chunk_id").to_pylist() == [item.chunk_id for item in items]
    assert read.column("dense").to_pylist() == vectors.tolist()
    assert set(read.column("tenant").to_pylist()) == {"t"}
    sink.on_write_complete(WriteResult(num_rows=6, size_bytes=1, write_returns=[second, WriteOutcome()]))
    assert (sink.outcome.rows, sink.outcome.files) == (5, [other])


def test_a_task_without_chunks_writes_no_file(tmp_path: Path) -> None:
    folder = ImportFolder(root=tmp_path.as_uri(), physical="c__g1")
    folder.clear()
    sink = ParquetDatasink(folder=folder, identity=IDENTITY, tenant="t")
    failed = FailedDocument(uri="file:///x", stage="parse", reason="bad")
    assert sink.write([chunks_to_table([]), chunks_to_table([failed])], None) == WriteOutcome(failures=[failed])
    assert sink.write([], None) == WriteOutcome()
    assert list((tmp_path / "c__g1").iterdir()) == []
    with pytest.raises(InputError, match="Tenant"):
        ParquetDatasink(folder=folder, identity=IDENTITY, tenant="")
