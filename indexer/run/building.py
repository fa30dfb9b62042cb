"""A run into a generation that readers do not see yet: built beside the live one, verified, then given the alias."""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial

from indexer.embedding.embedder import open_embedder
from indexer.evaluation.questions import Question
from indexer.parsers import PARSER_VERSIONS
from indexer.progress import Counts
from indexer.run.comparing import Comparison, read_fingerprints
from indexer.run.context import RunContext
from indexer.run.datasink import WriteOutcome
from indexer.run.finishing import finish_documents
from indexer.run.importing import import_files, stored_documents, wants_import
from indexer.run.others import settle_others
from indexer.run.rebuild import by_content, found_by_content, left_over, lost_documents, refuse_loss, refuse_switch
from indexer.run.result import Share, distinct
from indexer.run.state import KnownDocument, Plan, gather, make_plan
from indexer.run.target import Target
from indexer.run.verify import Expected, verify
from indexer.run.writing import write_documents
from indexer.sources.discovery import Discovery
from indexer.sources.provenance import check_owners, existing_files
from indexer.sources.recorded import folders_are_here, recorded_files
from indexer.store.generation import verified_properties
from indexer.store.import_files import ImportFolder
from indexer.store.schema import PARSERS_PROPERTY, ROLLED_BACK_PROPERTY
from indexer.types import Generation, SourceFile, Verification


@dataclass(frozen=True, slots=True)
class Build:
    """A finished build.

    Attributes:
        made: The generation, which readers see now.
        shares: What was done per tenant, the run's own first.
        verification: What it showed.
    """

    made: Generation
    shares: tuple[Share, ...]
    verification: Verification


@dataclass(frozen=True, slots=True)
class _Part:
    """The documents of one tenant: from the given paths, and from files that the live generation remembers.

    Attributes:
        tenant: Whose they are.
        files: Where they are.
        comparison: What is in the files.
        live: Documents of the live generation, by id.
        seen: How those differ from the ones in the files, by their bytes alone.
        let_go: Ids of those that need not be in the new generation.
    """

    tenant: str
    files: tuple[SourceFile, ...]
    comparison: Comparison
    live: dict[str, KnownDocument]
    seen: Plan
    let_go: tuple[str, ...]


def build_generation(
    run: RunContext,
    discovery: Discovery,
    *,
    target: Target,
    sync: bool,
    allow_missing: bool,
    questions: Sequence[Question],
) -> Build:
    """Build a generation with every document of the live one, and move the alias when it has passed.

    Documents of the live generation that are not under the given paths are read again from the files they came from,
    those of other tenants too. An interrupted build is continued; what it left of tenants that are not read now is kept
    in a first generation, and deleted from a later one.

    Raises:
        ConflictError: Documents would be lost; or the build did not pass; or the lease was lost. Readers stay where
            they are.
        UnavailableError: Milvus does not answer.
        GraftworkError: Ray stopped the run.
    """
    run.reporter.tell("compare")
    with run.timed("compare"):
        parts = [
            _part(run, discovery, tenant=tenant, live=target.live, sync=sync) for tenant in _tenants(run, target.live)
        ]
    if not allow_missing:
        refuse_loss(
            [lost for part in parts for lost in _lost(part, _present(part))], alias=run.collection, target=target
        )
    made = _begin(run, target)
    others = _others(run, made, parts, target=target)
    shares: list[Share] = []
    lost: list[str] = []
    for part in parts:
        known = _stored(run, made, tenant=part.tenant) if target.begun else {}
        share, kept = _write_part(run, part, made=made, known=known, first=target.live is None)
        lost += _lost(part, share.stored | kept)
        shares.append(share)
    if not allow_missing:
        reason = next((f"{failed.uri}: {failed.reason}" for share in shares for failed in share.failures), "")
        refuse_switch(lost, alias=run.collection, target=target, reason=reason)
    run.reporter.tell("verify")
    with run.timed("verify"):
        expected = [
            Expected(tenant=part.tenant, hashes=_hashes(part, share)) for part, share in zip(parts, shares, strict=True)
        ]
        verification = verify(
            run.store, made, [*expected, *others], settings=run.settings, questions=questions, reporter=run.reporter
        )
        run.lease.check()
        run.store.record(
            made.physical,
            {
                **verified_properties(verification),
                PARSERS_PROPERTY: " ".join(PARSER_VERSIONS),
                ROLLED_BACK_PROPERTY: "",
            },
        )
        run.store.point_alias(run.collection, made.physical)
    return Build(made=made, shares=tuple(shares), verification=verification)


def _tenants(run: RunContext, live: Generation | None) -> list[str]:
    others = [] if live is None else run.store.tenants(live.physical)
    return [run.tenant, *(tenant for tenant in others if tenant != run.tenant)]


def _part(run: RunContext, discovery: Discovery, *, tenant: str, live: Generation | None, sync: bool) -> _Part:
    known = {} if live is None else gather(run.store.scan(live.physical, tenant=tenant))
    own = tenant == run.tenant
    if own:
        run.failed(discovery.failures, tenant=tenant)
    given = discovery.files if own else ()
    unreadable = discovery.unreadable if own else ()
    taken = {*(file.source_id for file in given), *unreadable}
    files = (*given, *recorded_files(known, taken=taken))
    comparison = read_fingerprints(files, recipe=replace(run.recipe, tenant=tenant), reporter=run.reporter)
    run.failed(comparison.failures, tenant=tenant)
    against_live = make_plan(
        found_by_content(comparison.found),
        known=by_content(known),
        folders=discovery.folders if own else (),
        unreadable=(*unreadable, *comparison.unreadable),
        files={file.source_id: file.uri for file in files},
        existing=partial(existing_files, listed=discovery.left_out),
        at_home=folders_are_here,
    )
    check_owners(against_live.moved, collection=run.collection)
    if own:
        comparison = replace(comparison, failures=(*discovery.failures, *comparison.failures))
    return _Part(
        tenant=tenant,
        files=files,
        comparison=comparison,
        live=known,
        seen=against_live,
        let_go=(*(against_live.vanished if sync else ()), *against_live.renamed.values()),
    )


def _begin(run: RunContext, target: Target) -> Generation:
    dimension = run.embedder.dimension or open_embedder(run.settings).dimension
    made = run.store.ensure_generation(
        run.collection,
        embedder=run.embedder.identity,
        dimension=dimension,
        chunker=run.recipe.chunker.identity,
        parsers=PARSER_VERSIONS,
        number=target.number,
    )
    if made.verified is not None:
        run.store.record(made.physical, verified_properties(None))
    return made


def _stored(run: RunContext, made: Generation, *, tenant: str) -> dict[str, KnownDocument]:
    def tell(rows: int) -> None:
        run.reporter.tell("import", counts=Counts(chunks_written=rows))

    with run.timed("import"):
        return stored_documents(
            run.store,
            made,
            tenant=tenant,
            timeout_s=run.settings.bulk_timeout_s,
            check=run.lease.check,
            tell=tell,
        )


def _others(run: RunContext, made: Generation, parts: Sequence[_Part], *, target: Target) -> list[Expected]:
    there = run.store.tenants(made.physical) if target.begun else []
    return [
        settle_others(run, made, _stored(run, made, tenant=tenant), tenant=tenant, first=target.live is None)
        for tenant in there
        if tenant not in {part.tenant for part in parts}
    ]


def _write_part(
    run: RunContext, part: _Part, *, made: Generation, known: dict[str, KnownDocument], first: bool
) -> tuple[Share, set[str]]:
    """Write a tenant's documents; returns what was done, and the stored documents that are kept as they are."""
    plan = make_plan(
        part.comparison.found,
        known=known,
        folders=(),
        unreadable=part.comparison.unreadable,
        files={file.source_id: file.uri for file in part.files},
        existing=existing_files,
        at_home=folders_are_here,
    )
    failures = part.comparison.failures
    folder = None
    if run.settings.bulk_uri is not None and wants_import(plan, part.files, settings=run.settings):
        folder = ImportFolder(root=run.settings.bulk_uri, physical=made.physical)
        folder.clear()
    outcome = write_documents(run, plan, part.files, made=made, tenant=part.tenant, failed=len(failures), folder=folder)
    run.failed(outcome.failures, tenant=part.tenant)
    replaced = 0
    if folder is not None:
        replaced = _import(run, outcome, made=made, tenant=part.tenant, stored=known.keys())
        folder.clear()
    share = Share(
        tenant=part.tenant,
        read=frozenset(file.source_id for file in part.files),
        plan=plan,
        seen=plan if first else part.seen,
        outcome=outcome,
        failures=distinct((*failures, *outcome.failures)),
        vanished=part.seen.vanished,
        deleted_documents=0,
    )
    run.reporter.tell("finish", counts=share.counts, failed=len(share.failures))
    wanted = known.keys() if first else _present(part) | (part.live.keys() - set(part.let_go))
    kept = left_over(known, stored=share.stored, wanted=wanted)
    share = replace(share, deleted_documents=len(part.live.keys() - share.stored - kept - set(share.renamed.values())))
    gone = known.keys() - share.stored - kept
    deleted = finish_documents(run, plan, outcome, made=made, tenant=part.tenant, gone=gone)
    return share.with_deleted(deleted + replaced), kept


def _import(run: RunContext, outcome: WriteOutcome, *, made: Generation, tenant: str, stored: Collection[str]) -> int:
    run.lease.check()
    documents = len(outcome.documents)

    def tell(rows: int) -> None:
        counts = Counts(documents=documents, chunks=outcome.rows, chunks_written=rows)
        run.reporter.tell("import", counts=counts, total=documents)

    with run.timed("import"):
        return import_files(
            run.store,
            outcome,
            made=made,
            tenant=tenant,
            stored=stored,
            timeout_s=run.settings.bulk_timeout_s,
            check=run.lease.check,
            tell=tell,
        )


def _present(part: _Part) -> set[str]:
    return {document.document_id for document in part.comparison.found}


def _lost(part: _Part, present: Set[str]) -> list[str]:
    return lost_documents(part.live, present=present, let_go=part.let_go)


def _hashes(part: _Part, share: Share) -> dict[str, str]:
    """Return the hash of every document that must be stored in whole now: a file may change after it was compared."""
    compared = {
        document.document_id: document.document_hash
        for document in part.comparison.found
        if document.document_id in share.plan.unchanged
    }
    return compared | {document_id: written.document_hash for document_id, written in share.outcome.documents.items()}
