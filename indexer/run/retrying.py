"""`--retry-failed`: the documents that failed are the sources of a run, and nothing else is."""

from __future__ import annotations

from indexer.errors import InputError, NotFoundError
from indexer.sources.discovery import Discovery
from indexer.sources.recorded import failed_files
from indexer.store.milvus import MilvusStore


def check_retry(*, sources: bool, watch: bool = False) -> None:
    """Refuse what does not go together with documents that are known.

    Args:
        sources: Whether sources, lists of them or patterns were given.
        watch: Whether folders are to be followed.

    Raises:
        InputError: It was.
    """
    if watch:
        raise InputError("--retry-failed and --watch do not go together: try again what failed, then watch.")
    if sources:
        raise InputError("--retry-failed takes no sources and no patterns: what failed is known.")


def retried_sources(store: MilvusStore, collection: str, *, tenant: str) -> Discovery:
    """Return the files whose documents failed before.

    Raises:
        NotFoundError: None did, or there is no such collection.
        UnavailableError: Milvus or an object store does not answer.
    """
    letters = store.read_letters(collection, tenant=tenant)
    if not letters:
        store.locate(collection)
        raise NotFoundError(
            f"No document of tenant {tenant!r} in {collection!r} has failed; there is nothing to retry."
        )
    return failed_files(letters)
