"""What a report counts."""

from __future__ import annotations

from indexer.run.building import build_generation
from indexer.run.report import IndexReport
from indexer.run.result import Share, report_of
from indexer.run.target import Target
from indexer.sources.discovery import Discovery
from indexer.store.milvus import MilvusStore
from indexer.types import FailedDocument
from tests.indexer.making import chunk, plan, running, unit_vectors, written
from tests.indexer.run.test_target import made


def report(*shares: Share) -> IndexReport:
    return report_of(shares, made=made(2), built=None, seconds={}, skipped={}, dead_letters=0)


def test_a_new_generation_is_held_against_the_live_one_whatever_had_to_be_built() -> None:
    built = plan(new=["d/a", "d/b", "d/c", "d/now", "d/failed"])
    seen = plan(new=["d/c", "d/now"], changed=["d/b"], unchanged=["d/a", "d/failed"], renamed={"d/now": "d/before"})
    share = Share(
        tenant="t",
        read=frozenset(),
        plan=built,
        seen=seen,
        outcome=written("d/a", "d/b", "d/c", "d/now"),
        failures=(FailedDocument("file:///d/failed", "parse", "bad"),),
        vanished=(),
        deleted_documents=0,
    )
    found = report(share)
    counts = found.documents
    assert (counts.seen, counts.new, counts.changed, counts.unchanged, counts.failed) == (5, 1, 2, 1, 1)
    assert found.renamed == {"d/now": "d/before"}
    assert found.chunks.written == 4


def test_what_readers_do_not_see_any_more_is_deleted_also_where_it_was_let_go_unasked(store: MilvusStore) -> None:
    live = store.ensure_generation("thinner", embedder="m@1", dimension=8)
    store.upsert(live.physical, [chunk("gone", document_id="d/gone")], unit_vectors(1), tenant="t")
    store.point_alias("thinner", live.physical)
    with running(store, "thinner") as run:
        build = build_generation(
            run,
            Discovery(files=(), failures=(), skipped={}, folders=(), unreadable=()),
            target=Target(number=2, live=live, because=("another embedder",), begun=False),
            sync=False,
            allow_missing=True,
            questions=(),
        )
    assert store.locate("thinner").number == 2
    assert report(*build.shares).documents.deleted == 1
