"""Milvus's own import of files: jobs that go on without us, of which the server keeps the list.

pymilvus 3.0.2 has two ways to it. `pymilvus.bulk_writer` speaks REST, which servers have since 2.4; the package cannot
be imported without the SDKs of MinIO and Azure. The gRPC calls are those of servers since 2.2, which newer ones
translate; `pymilvus.utility` offers them, warns, and goes with 3.1: here they are called where it calls them.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from pymilvus import BulkInsertState
from pymilvus.exceptions import MilvusException

from indexer.errors import UnavailableError
from indexer.store.client import LONG_CALL_S, StoreClient
from indexer.store.connection import translated

_FAILED = (BulkInsertState.ImportFailed, BulkInsertState.ImportFailedAndCleaned)


@dataclass(frozen=True, slots=True)
class ImportJob:
    """An import of one file.

    Attributes:
        job: The server's number for it; 0 in the lists of servers since 2.4.
        done: Whether its rows are stored.
        failed: Why it ended without; empty where it did not.
        rows: Rows that it has read.
        percent: How far it is.
    """

    job: int
    done: bool
    failed: str
    rows: int
    percent: int

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.done or bool(self.failed)


class Imports(StoreClient):
    """Starts and follows imports."""

    def can_import(self) -> bool:
        """Tell whether the server imports files; milvus-lite does not."""
        with translated(self.uri, "list imports"):
            try:
                self.client()._get_connection().list_bulk_insert_tasks(1, "", timeout=self._timeout_s)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNIMPLEMENTED:
                    raise
                return False
        return True

    def start_import(self, physical: str, path: str) -> int:
        """Start the import of a file and return its number. It is asked for once: asked again, it would come twice.

        Raises:
            UnavailableError: The server does not answer, or has no room for one more job.
        """
        with translated(self.uri, f"import {path} into {physical}"):
            try:
                # pymilvus asks again for as long as a `timeout` given by name lasts, without one `retry_times` times
                return int(
                    self.client()
                    ._get_connection()
                    .do_bulk_insert(physical, "", [path], max(self._timeout_s, LONG_CALL_S), retry_times=0)
                )
            except MilvusException as error:
                raise UnavailableError(
                    f"Milvus at {self.uri} does not start to import {path} into {physical} ({error.message}); "
                    "imports that were started go on, run the same command again to take up from them."
                ) from error

    def import_job(self, job: int) -> ImportJob:
        """Return how far an import is.

        Raises:
            UnavailableError: The server does not answer, or does not know it (yet).
        """
        with translated(self.uri, f"look at import {job}"):
            try:
                return _read(self.client()._get_connection().get_bulk_insert_state(job, timeout=self._timeout_s))
            except MilvusException as error:
                raise UnavailableError(
                    f"Milvus at {self.uri} does not tell of import {job}: {error.message}"
                ) from error

    def import_jobs(self, physical: str) -> list[ImportJob]:
        """Return the imports into a collection that the server remembers: for hours, and those under way."""
        with translated(self.uri, f"list imports into {physical}"):
            states = self.client()._get_connection().list_bulk_insert_tasks(0, physical, timeout=self._timeout_s)
        return [_read(state) for state in states]

    def show_imported(self, physical: str, *, timeout_s: float) -> None:
        """Load what was imported, so that it can be read; returns when it is loaded.

        Raises:
            UnavailableError: It is not within the time.
        """
        with translated(self.uri, f"load {physical}"):
            try:
                self.client().refresh_load(physical, timeout=timeout_s)
            except MilvusException as error:
                raise UnavailableError(
                    f"Milvus at {self.uri} does not load what it imported into {physical} ({error.message}); "
                    "run the same command again to go on."
                ) from error


def _read(state: BulkInsertState) -> ImportJob:
    failed = state.failed_reason or "no reason given" if state.state in _FAILED else ""
    return ImportJob(
        job=state.task_id,
        done=state.state == BulkInsertState.ImportCompleted,
        failed=failed,
        rows=state.row_count,
        percent=state.progress,
    )
