"""The last step of a run: make the new rows durable, then delete the old ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from indexer.run.context import RunContext
from indexer.run.datasink import WriteOutcome
from indexer.run.state import Plan, stale_rows
from indexer.store.milvus import MilvusStore
from indexer.types import Generation

_DOCUMENTS_AT_ONCE = 200  # ids per filter expression
_ROWS_AT_ONCE = 500  # keys per delete


def finish_documents(
    run: RunContext, plan: Plan, outcome: WriteOutcome, *, made: Generation, tenant: str, gone: Iterable[str]
) -> int:
    """Flush, then delete the replaced rows of changed documents and all rows of gone ones; returns how many rows.

    New documents that Milvus refused in part are gone, too.

    Raises:
        ConflictError: The lease was lost; nothing is deleted from then on.
        UnavailableError: Milvus does not answer.
    """
    gone = {*gone, *(outcome.refused.keys() & plan.new)}
    with run.timed("finish"):
        if outcome.documents:
            run.store.flush(made.physical)
        run.lease.check()
        replaced = {
            document_id: written.document_hash
            for document_id, written in outcome.documents.items()
            if document_id in plan.changed and outcome.is_whole(document_id)
        }
        old = sorted(gone)
        total = len(replaced) + len(old)
        deleted = done = 0
        for ids in _batches(sorted(replaced), _DOCUMENTS_AT_ONCE):
            rows = run.store.scan(made.physical, tenant=tenant, document_ids=ids)
            stale = stale_rows(rows, current=replaced)
            deleted += _delete(run.store, made, stale, tenant=tenant, check=run.lease.check)
            done += len(ids)
            run.reporter.advance(done, total=total)
        for ids in _batches(old, _DOCUMENTS_AT_ONCE):
            deleted += delete_documents(run.store, made, ids, tenant=tenant, check=run.lease.check)
            done += len(ids)
            run.reporter.advance(done, total=total)
    return deleted


def delete_documents(
    store: MilvusStore, made: Generation, document_ids: Iterable[str], *, tenant: str, check: Callable[[], None]
) -> int:
    """Delete all rows of some documents of a tenant; returns how many.

    Args:
        store: Where.
        made: The generation.
        document_ids: Documents that need not be there.
        tenant: Whose they are.
        check: Sees that the lease still holds; called before every delete.

    Raises:
        ConflictError: The lease was lost; nothing is deleted from then on.
        UnavailableError: Milvus does not answer.
    """
    deleted = 0
    for ids in _batches(sorted(document_ids), _DOCUMENTS_AT_ONCE):
        rows = [row.chunk_id for row in store.scan(made.physical, tenant=tenant, document_ids=ids)]
        deleted += _delete(store, made, rows, tenant=tenant, check=check)
    return deleted


def _delete(
    store: MilvusStore, made: Generation, chunk_ids: Sequence[str], *, tenant: str, check: Callable[[], None]
) -> int:
    """Delete rows, the lease looked at before every call: a successor may have written those rows meanwhile."""
    for keys in _batches(chunk_ids, _ROWS_AT_ONCE):
        check()
        store.delete_chunks(made.physical, keys, tenant=tenant)
    return len(chunk_ids)


def _batches(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
