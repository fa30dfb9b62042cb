"""Ray Data's way into Milvus."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from ray.data._internal.execution.interfaces import TaskContext
from ray.data.block import Block, BlockAccessor
from ray.data.datasource.datasink import Datasink, WriteResult

from indexer.board import Board
from indexer.errors import InputError
from indexer.names import split_physical
from indexer.progress import Counts
from indexer.run.tables import chunks_from_table, embedded_count
from indexer.sources.provenance import stored_file
from indexer.store.connection import RefusedError
from indexer.store.expressions import check_tenant
from indexer.store.import_files import ImportFile
from indexer.store.milvus import MilvusStore
from indexer.store.retry import call_with_retry
from indexer.types import Chunk, FailedDocument


@dataclass(slots=True)
class DocumentWritten:
    """What was written of one document."""

    document_hash: str
    chunk_count: int
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A document that Milvus does not take.

    Attributes:
        file: URI of the file that it is in.
        reason: One sentence for the user.
    """

    file: str
    reason: str


@dataclass(slots=True)
class WriteOutcome:
    """What one write task did, or all of them.

    Attributes:
        documents: What was written, by document id.
        failures: Failed documents that arrived with the chunks.
        embedded: Chunks whose vectors were not stored before.
        files: Files that hold the chunks, where they are to be imported.
        refused: Documents that Milvus does not take, by id; some rows of them may be written.
    """

    documents: dict[str, DocumentWritten] = field(default_factory=dict)
    failures: list[FailedDocument] = field(default_factory=list)
    embedded: int = 0
    files: list[ImportFile] = field(default_factory=list)
    refused: dict[str, Refusal] = field(default_factory=dict)

    def merge(self, other: WriteOutcome) -> None:
        """Add what another task did; a document's chunks may be spread over tasks."""
        self.failures.extend(other.failures)
        self.embedded += other.embedded
        self.files.extend(other.files)
        self.refused.update(other.refused)
        for document_id, written in other.documents.items():
            mine = self.documents.setdefault(
                document_id, DocumentWritten(document_hash=written.document_hash, chunk_count=written.chunk_count)
            )
            mine.rows += written.rows
        for document_id in self.refused:
            self.documents.pop(document_id, None)

    def is_whole(self, document_id: str) -> bool:
        """Tell whether all chunks of a document were written."""
        written = self.documents.get(document_id)
        return written is not None and written.rows >= written.chunk_count

    @property
    def rows(self) -> int:
        """Chunks written."""
        return sum(written.rows for written in self.documents.values())


class MilvusDatasink(Datasink[WriteOutcome]):
    """Upserts chunks into one physical collection.

    A write task may run twice, on another node, or at the same time as its copy: rows have deterministic keys and are
    upserted, so the result is the same. Nothing is flushed and nothing is deleted here; both are the driver's, once.
    The connection is opened by the task that writes and never pickled.

    Attributes:
        outcome: After the run, what all tasks together wrote; empty before.
    """

    def __init__(
        self, *, store: MilvusStore, physical: str, tenant: str, batch_size: int, board: Board[Counts] | None = None
    ) -> None:
        """Check and keep the arguments.

        Args:
            store: Where to write; it is sent to the workers without its connection.
            physical: Name of a physical collection; writing through an alias could change target mid-run.
            tenant: Whose rows these are.
            batch_size: Chunks per upsert.
            board: Where to count, or None.

        Raises:
            InputError: An argument cannot be used.
        """
        if split_physical(physical) is None:
            raise InputError(f"{physical!r} is not a physical collection; give the name that ends in `__g<number>`.")
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; give at least 1.")
        self._store = store
        self._physical = physical
        self._tenant = check_tenant(tenant)
        self._batch_size = batch_size
        self._board = board
        self.outcome = WriteOutcome()

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> WriteOutcome:  # noqa: ARG002  Ray's signature
        """Write blocks one by one.

        Raises:
            UnavailableError: Milvus did not answer, again and again.
        """
        outcome = WriteOutcome()
        for block in blocks:
            table = BlockAccessor.for_block(block).to_arrow()
            for start in range(0, table.num_rows, self._batch_size):
                outcome.merge(self._write(table.slice(start, self._batch_size)))
        self._store.close()
        return outcome

    def on_write_complete(self, write_result: WriteResult[WriteOutcome]) -> None:
        """Sum up what the tasks returned; called on the driver."""
        for part in write_result.write_returns:
            self.outcome.merge(part)

    def get_name(self) -> str:
        """Return the name that Ray shows for the write tasks."""
        return "Milvus"

    def _write(self, table: pa.Table) -> WriteOutcome:
        began = time.perf_counter()
        chunks, vectors, failures = chunks_from_table(table)
        refused = self._upsert(chunks, vectors) if chunks else {}
        taken = [chunk for chunk in chunks if chunk.document_id not in refused]
        if self._board is not None:
            self._board.tell(Counts(chunks_written=len(taken), write_busy=time.perf_counter() - began))
        outcome = outcome_of(taken, failures, embedded=embedded_count(table, without=refused))
        outcome.refused.update(refused)
        return outcome

    def _upsert(self, chunks: Sequence[Chunk], vectors: NDArray[np.float32]) -> dict[str, Refusal]:
        """Write chunks, a document at a time where they are refused together; returns the documents that are."""
        try:
            call_with_retry(
                lambda: self._store.upsert(self._physical, chunks, vectors, tenant=self._tenant),
                description=f"write {len(chunks)} chunks to {self._physical}",
                before_retry=self._store.close,
            )
        except RefusedError as error:
            rows: dict[str, list[int]] = {}
            for row, chunk in enumerate(chunks):
                rows.setdefault(chunk.document_id, []).append(row)
            if len(rows) == 1:
                file = stored_file(chunks[0].uri, dict(chunks[0].metadata)) or ""
                return {chunks[0].document_id: Refusal(file=file, reason=str(error))}
        else:
            return {}
        refused: dict[str, Refusal] = {}
        for mine in rows.values():
            refused |= self._upsert([chunks[row] for row in mine], vectors[mine])
        return refused


def outcome_of(chunks: Sequence[Chunk], failures: list[FailedDocument], *, embedded: int) -> WriteOutcome:
    """Return what the writing of these chunks came to."""
    outcome = WriteOutcome(failures=failures, embedded=embedded)
    for chunk in chunks:
        written = outcome.documents.setdefault(
            chunk.document_id, DocumentWritten(document_hash=chunk.document_hash, chunk_count=chunk.chunk_count)
        )
        written.rows += 1
    return outcome
