"""`graftwork index --watch`: index again whenever the folders changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pymilvus.exceptions import MilvusException

from deploy.cli.context import notes
from indexer.errors import GraftworkError, from_system
from indexer.store.connection import refusal_of

if TYPE_CHECKING:
    from indexer.run.report import IndexReport
    from indexer.sources.changes import Changes

RETRY_S = 30.0  # after a run that failed, where nothing changes meanwhile


def index_on_change(
    changes: Changes,
    *,
    run: Callable[[], IndexReport],
    tell: Callable[[IndexReport], None],
    check: Callable[[], None] = lambda: None,
    retry_s: float = RETRY_S,
) -> None:
    """Index, and index again at every change, until interrupted.

    The first run's errors end it. Later ones are told, and the run is tried again at the next change or after a while:
    a corpus that is worked on is in disorder at times, files go while they are read, and servers are away.

    Args:
        changes: Followed since before the first run, so that nothing that changes during a run is missed.
        run: Indexes once.
        tell: Shows what a run did.
        check: Raises where the user has interrupted and it went unnoticed.
        retry_s: Seconds until a failed run is tried again.

    Raises:
        GraftworkError: The first run failed, or the folders are not followed any more.
        OSError: Likewise.
        MilvusException: Likewise.
    """
    tell(run())
    wait_s: float | None = None
    while True:
        check()
        changes.wait(wait_s)
        check()
        try:
            report = run()
        except (GraftworkError, OSError, MilvusException) as error:
            message = f"{_sentence(error)} Tried again in {retry_s:.0f} s or at the next change."
            notes().print(message, markup=False, soft_wrap=True)
            wait_s = retry_s
        else:
            wait_s = None
            tell(report)


def _sentence(error: GraftworkError | OSError | MilvusException) -> str:
    if isinstance(error, OSError):
        return str(from_system(error))
    if isinstance(error, MilvusException):
        return str(refusal_of(error))
    return str(error)


def summary(report: IndexReport) -> str:
    """One line about a run."""
    documents = report.documents
    return (
        f"{report.collection} generation {report.generation}: {documents.new} new, {documents.changed} changed, "
        f"{documents.deleted} deleted, {documents.unchanged} unchanged, {documents.failed} failed; "
        f"{report.chunks.written} chunks in {report.seconds['total']:.1f} s"
    )
