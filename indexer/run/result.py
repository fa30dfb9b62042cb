"""From what the steps did to the report of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from indexer.progress import Counts
from indexer.run.datasink import WriteOutcome
from indexer.run.report import ChunkCounts, DocumentCounts, IndexReport, NewGeneration
from indexer.run.state import Plan
from indexer.types import FailedDocument, Generation


@dataclass(frozen=True, slots=True)
class Share:
    """What a run did with one tenant's documents.

    Attributes:
        tenant: Whose they are.
        read: Source ids of the files that were read.
        plan: What was to be done.
        seen: How the documents differ from those that readers saw before; the plan itself where there were none, and
            where readers see each change as it is written.
        outcome: What was written.
        failures: Documents that were left out.
        vanished: Stored documents whose file is gone.
        deleted_documents: How many documents readers saw before and see under no name now.
        deleted_chunks: Rows that were deleted.
    """

    tenant: str
    read: frozenset[str]
    plan: Plan
    seen: Plan
    outcome: WriteOutcome
    failures: tuple[FailedDocument, ...]
    vanished: tuple[str, ...]
    deleted_documents: int
    deleted_chunks: int = 0

    @property
    def stored(self) -> Set[str]:
        """Ids of the documents that were written or found complete."""
        return self.plan.unchanged | self.outcome.documents.keys()

    @property
    def renamed(self) -> dict[str, str]:
        """Former ids of the stored documents that have another id now, by that."""
        return {now: before for now, before in self.seen.renamed.items() if now in self.stored}

    @property
    def counts(self) -> Counts:
        """What was written, for the progress."""
        rows = self.outcome.rows
        return Counts(documents=len(self.outcome.documents), chunks=rows, chunks_written=rows)

    def with_deleted(self, chunks: int) -> Share:
        """Return the share with its deleted rows."""
        return replace(self, deleted_chunks=chunks)


def distinct(failures: Iterable[FailedDocument]) -> tuple[FailedDocument, ...]:
    """Return the failures of one run, one for each address: the first, for comparing and preparing may both meet it."""
    by_uri: dict[str, FailedDocument] = {}
    for failure in failures:
        by_uri.setdefault(failure.uri, failure)
    return tuple(by_uri.values())


def report_of(
    shares: Sequence[Share],
    *,
    made: Generation,
    built: NewGeneration | None,
    seconds: Mapping[str, float],
    skipped: Mapping[str, int],
    dead_letters: int,
) -> IndexReport:
    """Return the report of a run, tenants added up."""
    renamed = {now: before for share in shares for now, before in share.renamed.items()}
    moved = sum(len(share.seen.new & share.renamed.keys()) for share in shares)
    new = sum(len(share.seen.new & share.stored) for share in shares) - moved
    changed = sum(len(share.seen.changed & share.stored) for share in shares) + moved
    unchanged = sum(len(share.seen.unchanged & share.stored) for share in shares)
    failures = [failure for share in shares for failure in share.failures]
    rows = sum(share.outcome.rows for share in shares)
    embedded = sum(share.outcome.embedded for share in shares)
    return IndexReport(
        documents=DocumentCounts(
            seen=new + changed + unchanged + len(failures),
            new=new,
            changed=changed,
            unchanged=unchanged,
            deleted=sum(share.deleted_documents for share in shares),
            failed=len(failures),
        ),
        chunks=ChunkCounts(written=rows, deleted=sum(share.deleted_chunks for share in shares), embedded=embedded),
        seconds=dict(seconds),
        collection=made.alias,
        generation=made.number,
        embedder=made.embedder,
        failures=tuple(sorted(failures, key=lambda failure: failure.uri)),
        vanished=tuple(vanished for share in shares for vanished in share.vanished),
        skipped=dict(skipped),
        renamed=renamed,
        built=built,
        dead_letters=dead_letters,
    )
