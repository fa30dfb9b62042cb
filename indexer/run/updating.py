"""A run into the live generation: readers see each document change as it is written."""

from __future__ import annotations

from functools import partial

from indexer.parsers import PARSER_VERSIONS
from indexer.run.comparing import read_fingerprints
from indexer.run.context import RunContext
from indexer.run.finishing import finish_documents
from indexer.run.result import Share, distinct
from indexer.run.state import gather, make_plan
from indexer.run.writing import write_documents
from indexer.sources.discovery import Discovery
from indexer.sources.provenance import check_owners, existing_files
from indexer.sources.recorded import folders_are_here
from indexer.store.schema import PARSERS_PROPERTY
from indexer.types import Generation


def update_live(run: RunContext, discovery: Discovery, *, made: Generation, sync: bool) -> Share:
    """Index what changed, delete what was replaced or renamed and, with `sync`, what is gone.

    Raises:
        ConflictError: A document's id is that of another file that is stored and still exists, or the lease was lost.
        UnavailableError: Milvus does not answer.
        GraftworkError: Ray stopped the run.
    """
    run.failed(discovery.failures, tenant=run.tenant)
    run.reporter.tell("compare")
    with run.timed("compare"):
        known = gather(run.store.scan(made.physical, tenant=run.tenant))
        comparison = read_fingerprints(discovery.files, recipe=run.recipe, reporter=run.reporter)
        run.failed(comparison.failures, tenant=run.tenant)
        plan = make_plan(
            comparison.found,
            known=known,
            folders=discovery.folders,
            unreadable=(*discovery.unreadable, *comparison.unreadable),
            files={file.source_id: file.uri for file in discovery.files},
            existing=partial(existing_files, listed=discovery.left_out),
            at_home=folders_are_here,
        )
        check_owners(plan.moved, collection=run.collection)
    failures = [*discovery.failures, *comparison.failures]
    outcome = write_documents(run, plan, discovery.files, made=made, tenant=run.tenant, failed=len(failures))
    run.failed(outcome.failures, tenant=run.tenant)
    failures.extend(outcome.failures)
    share = Share(
        tenant=run.tenant,
        read=frozenset(file.source_id for file in discovery.files),
        plan=plan,
        seen=plan,
        outcome=outcome,
        failures=distinct(failures),
        vanished=plan.vanished,
        deleted_documents=len(plan.vanished) if sync else 0,
    )
    run.reporter.tell("finish", counts=share.counts, failed=len(share.failures))
    gone = [
        *(plan.vanished if sync else ()),
        *(old for new, old in plan.renamed.items() if new in plan.unchanged or outcome.is_whole(new)),
    ]
    deleted = finish_documents(run, plan, outcome, made=made, tenant=run.tenant, gone=gone)
    _record_parsers(run, made)
    return share.with_deleted(deleted)


def _record_parsers(run: RunContext, made: Generation) -> None:
    if made.identity.parsers != PARSER_VERSIONS:
        run.store.record(made.physical, {PARSERS_PROPERTY: " ".join(PARSER_VERSIONS)})
