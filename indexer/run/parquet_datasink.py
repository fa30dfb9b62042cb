"""Ray Data's way into the files that Milvus imports."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import pyarrow as pa
from ray.data.block import Block, BlockAccessor
from ray.data.datasource.datasink import Datasink, WriteResult

from indexer.board import Board
from indexer.progress import Counts
from indexer.run.datasink import WriteOutcome, outcome_of
from indexer.run.tables import chunks_from_table, embedded_count
from indexer.store.expressions import check_tenant
from indexer.store.import_files import ImportFolder, import_table
from indexer.store.schema import collection_schema, row_from_chunk
from indexer.types import Identity

_ROWS_PER_FILE = 20_000  # 80 MB at 384 dimensions; a file is one import, and servers keep at most 1,024 of those
_ROWS_PER_GROUP = 5000  # 20 MB, held in memory as Python objects


class ParquetDatasink(Datasink[WriteOutcome]):
    """Writes chunks into Parquet files, one per task.

    A task that Ray repeats writes another file: each has a name of its own, and only those count that the outcome
    names, which has the answer of one attempt per task.

    Attributes:
        outcome: After the run, what all tasks together wrote; empty before.
    """

    def __init__(
        self, *, folder: ImportFolder, identity: Identity, tenant: str, board: Board[Counts] | None = None
    ) -> None:
        """Keep the arguments.

        Args:
            folder: Where to write.
            identity: Of the generation that the files are for.
            tenant: Whose rows these are.
            board: Where to count, or None.

        Raises:
            InputError: The tenant cannot be used.
        """
        self._folder = folder
        self._identity = identity
        self._tenant = check_tenant(tenant)
        self._board = board
        self.outcome = WriteOutcome()

    @property
    def min_rows_per_write(self) -> int:
        """Rows that Ray gathers for one task."""
        return _ROWS_PER_FILE

    def write(self, blocks: Iterable[Block], ctx: object) -> WriteOutcome:  # noqa: ARG002  Ray's signature
        """Write all blocks into one file; none where they hold no chunk.

        Raises:
            UnavailableError: The store of the files cannot be reached or refuses.
        """
        outcome = WriteOutcome()
        tables = [BlockAccessor.for_block(block).to_arrow() for block in blocks]
        filled = [table for table in tables if table.num_rows]
        if filled and (file := self._folder.write(self._groups(pa.concat_tables(filled), outcome))):
            outcome.files.append(file)
        return outcome

    def on_write_complete(self, write_result: WriteResult[WriteOutcome]) -> None:
        """Sum up what the tasks returned; called on the driver."""
        for part in write_result.write_returns:
            self.outcome.merge(part)

    def get_name(self) -> str:
        """Return the name that Ray shows for the write tasks."""
        return "Parquet"

    def _groups(self, table: pa.Table, outcome: WriteOutcome) -> Iterator[pa.Table]:
        """Yield the row groups of the file, and add to the outcome what is in them."""
        schema = collection_schema(self._identity)
        for start in range(0, table.num_rows, _ROWS_PER_GROUP):
            began = time.perf_counter()
            part = table.slice(start, _ROWS_PER_GROUP)
            chunks, vectors, failures = chunks_from_table(part)
            outcome.merge(outcome_of(chunks, failures, embedded=embedded_count(part)))
            if chunks:
                rows = [
                    row_from_chunk(chunk, vector, tenant=self._tenant)
                    for chunk, vector in zip(chunks, vectors, strict=True)
                ]
                yield import_table(rows, schema=schema)
            if self._board is not None:
                self._board.tell(Counts(chunks_written=len(chunks), write_busy=time.perf_counter() - began))
