"""The last step of a run: make the new rows durable, then delete the old ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from indexer.run.context import RunContext
from indexer.run.datasink import WriteOutcome
from indexer.run.state import Plan, stale_rows
from indexer.store.milvus import MilvusStore
from indexer.types import Generation

_DELETE_BATCH = 200  # document ids per filter expression


def finish_documents(
    run: RunContext, plan: Plan, outcome: WriteOutcome, *, made: Generation, tenant: str, gone: Iterable[str]
) -> int:
    """Flush, then delete the replaced rows of changed documents and all rows of gone ones; returns how many rows.

    Raises:
        ConflictError: The lease was lost; nothing is deleted then.
        UnavailableError: Milvus does not answer.
    """
    with run.timed("finish"):
        run.lease.check()
        if outcome.documents:
            run.store.flush(made.physical)
        replaced = {
            document_id: written.document_hash
            for document_id, written in outcome.documents.items()
            if document_id in plan.changed and outcome.is_whole(document_id)
        }
        deleted = 0
        for ids in _batches(sorted(replaced)):
            rows = run.store.scan(made.physical, tenant=tenant, document_ids=ids)
            deleted += run.store.delete_chunks(made.physical, stale_rows(rows, current=replaced))
        deleted += delete_documents(run.store, made, gone, tenant=tenant)
    return deleted


def delete_documents(store: MilvusStore, made: Generation, document_ids: Iterable[str], *, tenant: str) -> int:
    """Delete all rows of some documents of a tenant; returns how many."""
    deleted = 0
    for ids in _batches(sorted(document_ids)):
        rows = store.scan(made.physical, tenant=tenant, document_ids=ids)
        deleted += store.delete_chunks(made.physical, [row.chunk_id for row in rows])
    return deleted


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _DELETE_BATCH):
        yield ids[start : start + _DELETE_BATCH]
