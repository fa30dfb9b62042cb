"""Rows of tenants that a build does not read, left in its generation by builds that were interrupted."""

from __future__ import annotations

from collections.abc import Mapping

from indexer.run.context import RunContext
from indexer.run.finishing import delete_documents
from indexer.run.rebuild import left_over
from indexer.run.state import KnownDocument
from indexer.run.verify import Expected
from indexer.types import Generation


def settle_others(
    run: RunContext, made: Generation, known: Mapping[str, KnownDocument], *, tenant: str, first: bool
) -> Expected:
    """Keep what another tenant's unfinished first run has stored in whole, and delete what else is there of it.

    Beside a live generation nothing is kept: readers see nothing of that tenant, so it was removed, or its first run
    is still to be made.

    Args:
        run: The run.
        made: The generation that is built.
        known: The tenant's documents in it, by id.
        tenant: Which.
        first: Whether readers see no generation yet.

    Returns:
        What must be there of the tenant.

    Raises:
        ConflictError: The lease was lost.
        UnavailableError: Milvus does not answer.
    """
    kept = left_over(known, stored=frozenset(), wanted=set(known) if first else set())
    delete_documents(run.store, made, known.keys() - kept, tenant=tenant, check=run.lease.check)
    return Expected(
        tenant=tenant, hashes={document_id: next(iter(known[document_id].rows_by_hash)) for document_id in kept}
    )
