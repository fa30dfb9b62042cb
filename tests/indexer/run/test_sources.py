"""What a run finds new, changed and gone in a bucket, on a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from io import BytesIO

import pyarrow as pa
import pytest
from pyarrow import parquet

from indexer.chunking.chunker import ChunkerSettings
from indexer.embedding.files import EMBEDDED_NAME, resolve_embedder
from indexer.errors import UnavailableError
from indexer.parsers.parquet import ParquetParser
from indexer.run.pipeline import run_index
from indexer.run.stages import Recipe, compare
from indexer.run.state import Fingerprint, Plan, gather, make_plan
from indexer.run.tables import SOURCE_SCHEMA, fingerprints_from_table, sources_to_rows
from indexer.settings import IndexerSettings
from indexer.sources.discovery import discover
from indexer.sources.provenance import existing_files
from indexer.sources.recorded import folders_are_here
from indexer.sources.stores import filesystem, open_source
from indexer.types import StoredRow
from tests.s3 import S3Server


@pytest.fixture
def server(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    filesystem.cache_clear()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecret")
    s3.start_with("farm")
    for name in ("soil", "wheat", "bees", "old"):
        s3.put("farm", f"docs/{name}.md", f"# {name}", acl="public-read")
    s3.put("farm", "docs/drafts/sheep.md", "# sheep", acl="public-read")
    yield s3
    filesystem.cache_clear()


class Corpus:
    """A collection that holds what was found last, one row per document."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._recipe = Recipe(
            tenant="t",
            pipeline="p",
            chunker=ChunkerSettings(chunk_tokens=100, overlap_tokens=10, prefix_tokens=20),
            embedder=EMBEDDED_NAME,
            tokenizer=resolve_embedder(EMBEDDED_NAME).path,
            max_document_bytes=500,
            parse_timeout_s=60.0,
        )
        self._rows: list[StoredRow] = []

    def plan(self, **patterns: list[str]) -> Plan:
        discovery = discover([self._source], **patterns)  # type: ignore[arg-type]
        files = {file.source_id: file.uri for file in discovery.files}
        table = pa.Table.from_pylist(sources_to_rows([(file, ()) for file in discovery.files]), schema=SOURCE_SCHEMA)
        items = list(fingerprints_from_table(pa.concat_tables(compare(table, recipe=self._recipe))))
        found = [item for item in items if isinstance(item, Fingerprint)]
        plan = make_plan(
            found,
            known=gather(self._rows),
            folders=discovery.folders,
            unreadable=[item[0] for item in items if not isinstance(item, Fingerprint)],
            files=files,
            existing=partial(existing_files, listed=discovery.left_out),
            at_home=folders_are_here,
        )
        held = {row.document_id: row for row in self._rows}
        for item in found:
            held[item.document_id] = StoredRow(
                item.document_id, item.document_id, item.document_hash, 1, files[item.source_id]
            )
        self._rows = list(held.values())
        return plan


def test_new_changed_and_gone_objects(server: S3Server) -> None:
    corpus = Corpus(f"s3://farm/docs/{server.query}")
    assert len(corpus.plan().new) == 5
    assert len(corpus.plan().unchanged) == 5
    server.put("farm", "docs/soil.md", "# new soil")
    server.put("farm", "docs/new.md", "# new")
    server.delete("farm", "docs/old.md")
    plan = corpus.plan(exclude=["drafts/"])
    assert (plan.new, plan.changed) == ({"farm/docs/new.md"}, {"farm/docs/soil.md"})
    assert (plan.unchanged, plan.vanished) == ({"farm/docs/wheat.md", "farm/docs/bees.md"}, ("farm/docs/old.md",))


def test_nothing_is_gone_where_the_store_refuses(server: S3Server) -> None:
    corpus = Corpus(f"s3://farm/docs/{server.query}")
    corpus.plan()
    with server.checking_credentials(), pytest.raises(UnavailableError, match="ACCESS_DENIED"):
        corpus.plan()
    assert corpus.plan().vanished == ()


def test_a_store_that_refuses_in_the_middle_of_a_table_is_not_a_damaged_table(server: S3Server) -> None:
    sink = BytesIO()
    parquet.write_table(pa.table({"text": [f"{n}" * 4000 for n in range(9000)]}), sink, row_group_size=10)
    server.put("farm", "table.parquet", sink.getvalue())
    [file] = discover([f"s3://farm/table.parquet{server.query}"]).files
    with open_source(file.uri) as stream:
        rows = ParquetParser().split(stream, max_bytes=100_000)
        assert next(rows).key == "R1"
        with server.checking_credentials(), pytest.raises(UnavailableError, match="ACCESS_DENIED"):
            list(rows)


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_bucket_is_indexed_by_workers_without_credentials_of_ours(
    server: S3Server, settings: IndexerSettings
) -> None:
    source = f"s3://farm/docs/**/*.md{server.query}&anonymous=true"
    first = run_index(discover([source], exclude=["drafts/"]), collection="bucket", tenant="t", settings=settings)
    assert (first.documents.new, first.documents.failed, first.skipped) == (4, 0, {"excluded": 1})
    assert first.seconds["discover"] > 0
    server.put("farm", "docs/soil.md", "# new soil", acl="public-read")
    server.delete("farm", "docs/old.md")
    second = run_index([source], collection="bucket", tenant="t", settings=settings, sync=True)
    assert (second.documents.new, second.documents.changed, second.documents.unchanged) == (1, 1, 2)
    assert second.vanished == ("farm/docs/old.md",)
    with server.checking_credentials(), pytest.raises(UnavailableError, match="s3://farm"):
        run_index([source], collection="bucket", tenant="t", settings=settings, sync=True)
    assert run_index([source], collection="bucket", tenant="t", settings=settings).documents.unchanged == 4
