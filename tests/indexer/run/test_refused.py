from __future__ import annotations

from collections import Counter
from typing import cast

from indexer.embedding.files import EmbedderFiles
from indexer.progress import Reporter
from indexer.run.context import RunContext
from indexer.run.datasink import Refusal, WriteOutcome
from indexer.run.finishing import finish_documents
from indexer.run.refused import refused_documents
from indexer.run.stages import Recipe
from indexer.run.state import Plan
from indexer.settings import IndexerSettings
from indexer.store.holding import holding
from indexer.store.milvus import MilvusStore
from indexer.types import FailedDocument
from tests.indexer.making import chunk, source, unit_vectors

TABLE = source("/docs/all.jsonl")


def test_a_refused_document_fails_under_the_address_of_its_other_failures() -> None:
    refused = {
        "docs/guide.md": Refusal(file="file:///docs/guide.md", reason="long"),
        "docs/all.jsonl#a#b": Refusal(file="file:///docs/all.jsonl", reason="odd"),
        "docs/lost.md": Refusal(file="", reason="lost"),
    }
    assert refused_documents(refused, files=[source(), TABLE]) == [
        FailedDocument("file:///docs/all.jsonl#a#b", "write", "odd", TABLE.uri, TABLE.source_id),
        FailedDocument("file:///docs/guide.md", "write", "long", source().uri, source().source_id),
        FailedDocument("docs/lost.md", "write", "lost"),
    ]


def test_of_a_refused_new_document_nothing_stays_and_of_a_changed_one_the_old_rows(
    store: MilvusStore, settings: IndexerSettings
) -> None:
    made = store.ensure_generation("leavings", embedder="m@1", dimension=8)
    items = [chunk(name, document_id=f"d/{name}") for name in ("new", "changed", "fine")]
    store.upsert(made.physical, items, unit_vectors(3), tenant="t")
    outcome = WriteOutcome(refused={f"d/{name}": Refusal("", "") for name in ("new", "changed")})
    plan = Plan(
        new=frozenset({"d/new"}), changed=frozenset({"d/changed"}), unchanged=frozenset(), sources={}, vanished=()
    )
    with holding(store, "leavings", tenant="t") as lease:
        run = RunContext(
            collection="leavings",
            settings=settings,
            store=store,
            embedder=cast(EmbedderFiles, None),
            recipe=cast(Recipe, None),
            lease=lease,
            reporter=Reporter(None),
        )
        assert finish_documents(run, plan, outcome, made=made, tenant="t", gone=[]) == 1
    assert Counter(row.document_id for row in store.scan(made.physical, tenant="t")) == {"d/changed": 1, "d/fine": 1}
