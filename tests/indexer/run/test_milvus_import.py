"""Imports by a real Milvus server, 2.3.5, reading its own disk; it has no BM25, so there is no sparse field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from pymilvus import MilvusClient

from indexer.errors import GraftworkError
from indexer.run.datasink import WriteOutcome
from indexer.run.importing import check_imports, import_files, stored_documents, unfinished
from indexer.run.parquet_datasink import ParquetDatasink
from indexer.run.state import KnownDocument, gather
from indexer.run.tables import chunks_to_table, with_vectors
from indexer.run.verify import Expected, verify
from indexer.settings import IndexerSettings
from indexer.store.import_files import ImportFile, ImportFolder
from indexer.store.milvus import MilvusStore
from indexer.store.schema import PARTITIONS, collection_indexes, collection_properties, collection_schema
from indexer.types import Chunk, Generation, Identity, StoredRow
from tests.indexer.making import chunk, unit_vectors

pytestmark = pytest.mark.slow
IDENTITY = Identity(embedder="m@1", dimension=8, chunker="", parsers=(), schema=1)
TIMEOUT_S = 60.0


@pytest.fixture
def store(importing_uri: str) -> Iterator[MilvusStore]:
    opened = MilvusStore(importing_uri, timeout_s=30)
    yield opened
    opened.close()


@pytest.fixture
def make(store: MilvusStore) -> Callable[[str], Generation]:
    """Make a generation as `ensure_generation` does, but for what the server lacks."""

    def make(alias: str) -> Generation:
        whole = collection_schema(IDENTITY)
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        for field in whole.fields:
            if not field.is_function_output:
                params = {name: value for name, value in field.params.items() if name in ("max_length", "dim")}
                schema.add_field(
                    field.name,
                    field.dtype,
                    is_primary=field.is_primary,
                    is_partition_key=field.is_partition_key,
                    **params,
                )
        indexes = MilvusClient.prepare_index_params()
        dense = next(index for index in collection_indexes() if index.field_name == "dense")
        indexes.add_index("dense", **dense.get_index_configs())
        store.client().create_collection(
            f"{alias}__g1",
            schema=schema,
            index_params=indexes,
            num_partitions=PARTITIONS,
            properties=collection_properties(IDENTITY),
            timeout=60,
        )
        return Generation(
            alias=alias, physical=f"{alias}__g1", number=1, identity=IDENTITY, verified=None, rolled_back=False
        )

    return make


class Build:
    """What a build does with its files, without Ray."""

    def __init__(self, store: MilvusStore, made: Generation, root: Path) -> None:
        self.store, self.made = store, made
        self.folder = ImportFolder(root=root.as_uri(), physical=made.physical)
        self.folder.clear()
        self.told: list[int] = []

    def write(self, chunks: Sequence[Chunk], *, tenant: str = "t", seed: int = 0) -> WriteOutcome:
        sink = ParquetDatasink(folder=self.folder, identity=IDENTITY, tenant=tenant)
        return sink.write([with_vectors(chunks_to_table(chunks), unit_vectors(len(chunks), seed=seed))], None)

    def bring_in(self, outcome: WriteOutcome, *, stored: Sequence[str] = (), tenant: str = "t") -> int:
        return import_files(
            self.store,
            outcome,
            made=self.made,
            tenant=tenant,
            stored=stored,
            timeout_s=TIMEOUT_S,
            check=lambda: None,
            tell=self.told.append,
        )

    def found_again(self, tenant: str = "t") -> dict[str, KnownDocument]:
        return stored_documents(
            self.store,
            self.made,
            tenant=tenant,
            timeout_s=TIMEOUT_S,
            check=lambda: None,
            tell=self.told.append,
        )

    def rows(self, tenant: str = "t") -> list[StoredRow]:
        return sorted(self.store.scan(self.made.physical, tenant=tenant), key=lambda row: row.chunk_id)


def chunks_of(document_id: str, count: int, *, document_hash: str = "h1", tenant: str = "t") -> list[Chunk]:
    return [
        chunk(
            f"{document_id} {n} {document_hash}",
            ordinal=n,
            document_id=document_id,
            document_hash=document_hash,
            chunk_count=count,
            tenant=tenant,
        )
        for n in range(count)
    ]


def test_what_is_imported_is_what_was_written_and_passes_verification(
    store: MilvusStore, make: Callable[[str], Generation], tmp_path: Path
) -> None:
    check_imports(store, IndexerSettings(bulk_above_chunks=0, bulk_uri="s3://b/p"))
    build = Build(store, make("carried"), tmp_path)
    one, two = chunks_of("d/1", 120), chunks_of("d/2", 80)
    other = chunks_of("d/1", 10, tenant="red")
    lost, outcome = build.write([*one, *two]), build.write([*one, *two])
    assert lost.files != outcome.files
    assert build.bring_in(outcome) == 0
    assert build.told[-1] == 200
    assert build.bring_in(build.write(other, tenant="red"), tenant="red") == 0
    assert [row.chunk_id for row in build.rows()] == sorted(one_chunk.chunk_id for one_chunk in [*one, *two])
    assert [row.chunk_id for row in build.rows("red")] == sorted(one_chunk.chunk_id for one_chunk in other)
    fields = ["*"]
    expression = f'tenant == "t" and chunk_id == "{one[7].chunk_id}"'
    [row] = store.pages(build.made.physical, expression, fields, batch=10)
    assert row["heading_path"] == ["One", 'Two "quoted"']
    assert row["metadata"] == {"author": "Ada"}
    assert (row["text"], row["ordinal"], row["page"]) == ("d/1 7 h1", 7, 0)
    assert row["dense"] == pytest.approx(unit_vectors(200)[7].tolist())
    verified = verify(
        store,
        build.made,
        [Expected(tenant="t", hashes={"d/1": "h1", "d/2": "h1"}), Expected(tenant="red", hashes={"d/1": "h1"})],
        settings=IndexerSettings(milvus_uri=store.uri),
    )
    assert (verified.chunks, verified.sample) == (210, 110)
    assert verified.recall == 1.0


def test_a_document_that_is_written_again_takes_the_place_of_its_rows(
    store: MilvusStore, make: Callable[[str], Generation], tmp_path: Path
) -> None:
    build = Build(store, make("renewed"), tmp_path)
    build.bring_in(build.write([*chunks_of("d/1", 3), *chunks_of("d/2", 2)]))
    again = [*chunks_of("d/1", 4, document_hash="h2"), *chunks_of("d/2", 2), *chunks_of("d/3", 1)]
    assert build.bring_in(build.write(again), stored=["d/1", "d/2", "d/9"]) == 5
    assert store.count(build.made.physical) == 7
    assert {name: known.rows_by_hash for name, known in gather(build.rows()).items()} == {
        "d/1": {"h2": 4},
        "d/2": {"h1": 2},
        "d/3": {"h1": 1},
    }


def test_a_build_goes_on_after_what_an_interrupted_one_had_begun_to_import(
    store: MilvusStore, make: Callable[[str], Generation], tmp_path: Path
) -> None:
    build = Build(store, make("resumed"), tmp_path)
    [file] = build.write(chunks_of("d/1", 2000)).files
    store.start_import(build.made.physical, file.path)
    assert unfinished(store.import_jobs(build.made.physical)) != []
    assert store.count(build.made.physical) == 0
    known = build.found_again()
    assert known["d/1"].is_complete("h1")
    assert store.count(build.made.physical) == 2000
    assert build.found_again() == known


def test_rows_that_were_imported_twice_are_seen_and_made_room_for(
    store: MilvusStore, make: Callable[[str], Generation], tmp_path: Path
) -> None:
    build = Build(store, make("doubled"), tmp_path)
    [file] = build.write(chunks_of("d/1", 5)).files
    for _ in range(2):
        store.start_import(build.made.physical, file.path)
    assert build.found_again("red") == {}
    assert (store.count(build.made.physical), len(build.rows())) == (10, 5)
    assert build.found_again() == {}
    assert store.count(build.made.physical) == 0
    build.bring_in(build.write(chunks_of("d/1", 5)))
    assert store.count(build.made.physical) == 5
    assert build.found_again()["d/1"].is_complete("h1")


def test_a_file_that_the_server_cannot_read_is_told_and_the_others_are_kept(
    store: MilvusStore, make: Callable[[str], Generation], tmp_path: Path
) -> None:
    build = Build(store, make("refused"), tmp_path)
    outcome = build.write(chunks_of("d/1", 3))
    outcome.files.append(ImportFile(path=f"{tmp_path}/nowhere.parquet", rows=1))
    with pytest.raises(GraftworkError, match=r"could not import 1 of 2 files into refused__g1: .*no such file"):
        build.bring_in(outcome)
    assert build.found_again()["d/1"].is_complete("h1")
    assert store.count(build.made.physical) == 3
