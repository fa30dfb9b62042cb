"""What a run tells of its stages beside parsing and embedding: compare, finish and verify."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.chunking.chunks import chunker_settings
from indexer.embedding.files import EMBEDDED_NAME, resolve_embedder
from indexer.progress import Reporter
from indexer.run.comparing import read_fingerprints
from indexer.run.context import RunContext
from indexer.run.datasink import DocumentWritten, WriteOutcome
from indexer.run.finishing import finish_documents
from indexer.run.report import IndexProgress
from indexer.run.stages import Recipe
from indexer.run.state import Plan
from indexer.run.verify import Expected, verify
from indexer.settings import IndexerSettings
from indexer.sources.discovery import discover
from indexer.store.holding import holding
from indexer.store.milvus import MilvusStore
from tests.indexer.making import chunk, unit_vectors

DOCUMENTS = 450


@pytest.fixture
def heard() -> list[IndexProgress]:
    return []


@pytest.fixture
def recipe(settings: IndexerSettings) -> Recipe:
    return Recipe(
        tenant="t",
        pipeline="p",
        chunker=chunker_settings(settings, max_tokens=256, special_tokens=2),
        embedder=EMBEDDED_NAME,
        tokenizer=resolve_embedder(EMBEDDED_NAME).path,
        max_document_bytes=settings.max_document_bytes,
        parse_timeout_s=settings.parse_timeout_s,
    )


def test_finish_tells_of_the_documents_whose_old_rows_are_gone(
    store: MilvusStore, settings: IndexerSettings, recipe: Recipe, heard: list[IndexProgress]
) -> None:
    made = store.ensure_generation("finishing", embedder="m@1", dimension=8)
    ids = [f"d/{number:03}.md" for number in range(DOCUMENTS)]
    old = [chunk("old", document_id=document_id, document_hash="h0") for document_id in ids]
    new = [chunk("new", document_id=document_id, document_hash="h1") for document_id in ids[:250]]
    store.upsert(made.physical, old + new, unit_vectors(len(old) + len(new)), tenant="t")
    reporter = Reporter(heard.append)
    with holding(store, "finishing", tenant="t") as lease:
        run = RunContext(
            collection="finishing",
            settings=settings,
            store=store,
            embedder=resolve_embedder(EMBEDDED_NAME),
            recipe=recipe,
            lease=lease,
            reporter=reporter,
        )
        outcome = WriteOutcome({document_id: DocumentWritten("h1", 1, rows=1) for document_id in ids[:250]})
        plan = Plan(
            new=frozenset(), changed=frozenset(ids[:250]), unchanged=frozenset(), sources={}, vanished=tuple(ids[250:])
        )
        reporter.tell("finish", failed=3)
        assert finish_documents(run, plan, outcome, made=made, tenant="t", gone=ids[250:]) == DOCUMENTS
    assert [(moment.stage, moment.documents, moment.documents_total) for moment in heard[1:]] == [
        ("finish", done, DOCUMENTS) for done in (200, 250, DOCUMENTS)
    ]
    assert {moment.failed for moment in heard} == {3}
    assert store.count(made.physical, tenant="t") == 250


def test_verify_tells_of_documents_and_of_the_vectors_it_looked_at(
    store: MilvusStore, settings: IndexerSettings, heard: list[IndexProgress]
) -> None:
    made = store.ensure_generation("verifying", embedder="m@1", dimension=8)
    for tenant in ("a", "b"):
        chunks = [chunk(f"text {n}", document_id=f"d/{n}.md", tenant=tenant) for n in range(30)]
        store.upsert(made.physical, chunks, unit_vectors(30), tenant=tenant)
    expected = [Expected(tenant, {f"d/{n}.md": "h1" for n in range(30)}) for tenant in ("a", "b")]
    verify(store, made, expected, settings=settings, reporter=Reporter(heard.append))
    assert {(moment.stage, moment.documents_total, moment.chunks) for moment in heard} == {("verify", 60, 60)}
    assert [(moment.documents, moment.chunks_written) for moment in heard] == [(0, 30), (30, 30), (30, 60), (60, 60)]


@pytest.mark.slow
def test_compare_tells_of_the_documents_after_each_table_of_files(
    local_ray: None, recipe: Recipe, tmp_path: Path, heard: list[IndexProgress]
) -> None:
    for number in range(60):
        (tmp_path / f"{number}.md").write_text(f"# Document {number}")
    (tmp_path / "table.jsonl").write_text("".join(f'{{"id": "{n}", "text": "words"}}\n' for n in range(20)))
    (tmp_path / "bad.jsonl").write_text("no table\n")
    found = read_fingerprints(discover([tmp_path]).files, recipe=recipe, reporter=Reporter(heard.append))
    assert (len(found.found), len(found.failures)) == (80, 1)
    assert 4 <= len(heard) < 62
    assert {moment.stage for moment in heard} == {"compare"}
    done = [moment.documents + moment.failed for moment in heard]
    assert (done, done[0] < done[-1]) == (sorted(done), True)
    assert all(moment.documents_total >= 62 for moment in heard)
    assert (heard[-1].documents, heard[-1].failed, heard[-1].documents_total) == (80, 1, 81)
