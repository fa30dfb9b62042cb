"""Milvus imports the files that a build has written: once, whatever was interrupted before.

Milvus's import does not look for keys that are there, so a row that is imported twice is there twice: `count(*)` counts
it twice, a scan shows it once, and a delete of its key takes both. Three things keep it single. Only the files that the
write tasks' answers name are imported. What an interrupted build had begun to import goes on in the server, so the next
build waits for the end of it before it looks at what is stored. And rows that are stored of a document which is written
again are deleted before its import begins, which does not touch what comes after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence

from indexer.errors import ConflictError, GraftworkError, InputError, UnavailableError
from indexer.run.datasink import WriteOutcome
from indexer.run.finishing import delete_documents
from indexer.run.state import KnownDocument, Plan, gather
from indexer.settings import IndexerSettings
from indexer.store.imports import ImportJob
from indexer.store.milvus import MilvusStore
from indexer.types import Generation, SourceFile

BYTES_PER_TOKEN = 4  # of English text; the figure only chooses the way, the rows are the same
_ASK_EVERY_S = 1.0


def estimated_chunks(size: int, settings: IndexerSettings) -> int:
    """Return how many chunks so many bytes of documents make, as if they were plain English."""
    return size // (BYTES_PER_TOKEN * (settings.chunk_tokens - settings.chunk_overlap_tokens))


def wants_import(plan: Plan, files: Iterable[SourceFile], *, settings: IndexerSettings) -> bool:
    """Tell whether what a plan has to write is above the size from which on files are imported."""
    if settings.bulk_above_chunks is None:
        return False
    size = sum(file.bytes for file in files if file.source_id in plan.sources)
    return estimated_chunks(size, settings) > settings.bulk_above_chunks


def check_imports(store: MilvusStore, settings: IndexerSettings) -> None:
    """Refuse settings that ask for imports of a server that has none.

    Raises:
        InputError: It has none.
        UnavailableError: It does not answer.
    """
    if settings.bulk_above_chunks is not None and not store.can_import():
        raise InputError(
            f"indexer.bulk_above_chunks is set, but Milvus at {store.uri} does not import files (milvus-lite never "
            "does); unset bulk_above_chunks and bulk_uri, or set milvus_uri to a Milvus server."
        )


def import_files(
    store: MilvusStore,
    outcome: WriteOutcome,
    *,
    made: Generation,
    tenant: str,
    stored: Collection[str],
    timeout_s: float,
    check: Callable[[], None],
    tell: Callable[[int], None],
) -> int:
    """Import the files of an outcome, each once; returns how many rows were deleted to make room for them.

    Args:
        store: Where to.
        outcome: What was written into the files.
        made: The generation that they are for.
        tenant: Whose documents these are.
        stored: Ids of the documents that have rows there.
        timeout_s: Seconds without any progress until no longer is waited.
        check: Sees that the lease still holds; called before rows are deleted.
        tell: Hears how many rows are imported.

    Raises:
        GraftworkError: Milvus refused a file.
        UnavailableError: Milvus does not answer, or stands still.
    """
    deleted = delete_documents(store, made, outcome.documents.keys() & set(stored), tenant=tenant, check=check)
    jobs: dict[int, ImportJob] = {}
    for file in outcome.files:
        job = store.start_import(made.physical, file.path)
        jobs[job] = ImportJob(job=job, done=False, failed="", rows=0, percent=0)

    def ask() -> list[ImportJob]:
        jobs.update({job: store.import_job(job) for job in unfinished(jobs.values())})
        return list(jobs.values())

    ended = follow(ask, where=made.physical, timeout_s=timeout_s, tell=tell)
    store.show_imported(made.physical, timeout_s=timeout_s)
    if refused := [job for job in ended if job.failed]:
        raise GraftworkError(
            f"Milvus at {store.uri} could not import {len(refused)} of {len(ended)} files into {made.physical}: "
            f"{refused[0].failed}; see that indexer.bulk_uri is where that server reads its own data. What was "
            "imported is kept; run the same command again to go on."
        )
    return deleted


def stored_documents(
    store: MilvusStore,
    made: Generation,
    *,
    tenant: str,
    timeout_s: float,
    check: Callable[[], None],
    tell: Callable[[int], None],
) -> dict[str, KnownDocument]:
    """Return what an interrupted build has left of a tenant, when all that it had begun to import has ended.

    Rows that are there twice, because the answer to the start of an import was lost, are deleted: the build writes them
    again.

    Args:
        store: Where.
        made: The generation.
        tenant: Whose documents.
        timeout_s: Seconds without any progress until no longer is waited.
        check: Sees that the lease still holds; called before rows are deleted.
        tell: Hears how many rows are imported, while there is anything to wait for.

    Raises:
        ConflictError: Rows that are there twice cannot be deleted.
        UnavailableError: Milvus does not answer, or stands still.
    """
    imports = store.can_import()
    if imports and store.import_jobs(made.physical):
        follow(lambda: store.import_jobs(made.physical), where=made.physical, timeout_s=timeout_s, tell=tell)
        store.show_imported(made.physical, timeout_s=timeout_s)
    known = gather(store.scan(made.physical, tenant=tenant))
    if imports and store.count(made.physical, tenant=tenant) > rows_of(known):
        delete_documents(store, made, known, tenant=tenant, check=check)
        if left := store.count(made.physical, tenant=tenant):
            raise ConflictError(
                f"{made.physical} at {store.uri} holds {left} rows of tenant {tenant!r} twice; remove it "
                f"(graftwork collections prune {made.alias} --keep 0) and run this again."
            )
        return {}
    return known


def rows_of(known: dict[str, KnownDocument]) -> int:
    """Return the number of rows of all documents."""
    return sum(sum(document.rows_by_hash.values()) for document in known.values())


def unfinished(jobs: Iterable[ImportJob]) -> list[int]:
    """Return the numbers of the imports that have not ended."""
    return [job.job for job in jobs if not job.ended]


def follow(
    ask: Callable[[], Sequence[ImportJob]],
    *,
    where: str,
    timeout_s: float,
    tell: Callable[[int], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Sequence[ImportJob]:
    """Ask for imports until all have ended, and return them as they ended.

    Args:
        ask: Returns the imports as they are now.
        where: Name of the collection.
        timeout_s: Seconds without any progress, or without an answer, until no longer is waited.
        tell: Hears how many rows are imported, at each answer.
        sleep: Waits between two answers.
        clock: Seconds.

    Raises:
        UnavailableError: They stand still, or the server does not answer.
    """
    last: Sequence[ImportJob] = ()
    moved = clock()
    while True:
        trouble: UnavailableError | None = None
        try:
            jobs = ask()
        except UnavailableError as error:  # the server goes on without us
            trouble = error
        else:
            tell(sum(job.rows for job in jobs if not job.failed))
            if not unfinished(jobs):
                return jobs
            if jobs != last:
                last, moved = jobs, clock()
        if clock() - moved >= timeout_s:
            raise trouble or UnavailableError(
                f"{len(unfinished(last))} imports into {where} have stood still for {timeout_s:g} s "
                "(indexer.bulk_timeout_s); look at the Milvus server and run the same command again, which waits for "
                "them first."
            )
        sleep(_ASK_EVERY_S)
