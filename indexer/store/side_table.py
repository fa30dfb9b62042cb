"""Small tables of Graftwork's own in the same Milvus, where every machine that indexes sees them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException
from pymilvus.milvus_client.index import IndexParams

from indexer.store.client import LONG_CALL_S, StoreClient

logger = logging.getLogger(__name__)

_READY_S = 10.0  # another process may just be making the collection: it has no index for a moment
_LOOK_AGAIN_S = 0.2
MOST_ROWS = 16_384  # of one answer, Milvus's own limit
_PAGE = 1000  # rows per answer where there are more than that
_KEY_BYTES = 64
_FIELD_BYTES = 255
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class SideTable:
    """A collection without embeddings.

    Attributes:
        name: Of the collection.
        key: Name of the field with the primary key.
        fields: Names of the fields that rows are found by.
        body_bytes: Most bytes of a row's content, JSON in the field `body`.
    """

    name: str
    key: str
    fields: tuple[str, ...]
    body_bytes: int


class SideTables(StoreClient):
    """Reads, writes and deletes rows of side tables; every read is at Strong consistency."""

    def read_side(self, table: SideTable, expression: str) -> list[str]:
        """Return the bodies of the rows that an expression names."""
        if not self._has(table.name):
            return []
        rows = self._when_ready(
            table,
            lambda client: client.query(
                table.name,
                filter=expression,
                output_fields=["body"],
                consistency_level="Strong",
                limit=MOST_ROWS,
                timeout=self._timeout_s,
            ),
        )
        if len(rows) < MOST_ROWS:
            return [str(row["body"]) for row in rows]
        fields = [table.key, "body"]
        return [str(row["body"]) for row in self.pages(table.name, expression, fields, batch=_PAGE, key=table.key)]

    def write_side(self, table: SideTable, rows: Sequence[Mapping[str, str]]) -> None:
        """Write rows, replacing those of the same key; returns when every later read sees them."""
        if not rows:
            return
        if not self._has(table.name):
            self._create_side(table)
        whole = [{**row, "unused": [0.0, 1.0]} for row in rows]
        self._when_ready(table, lambda client: client.upsert(table.name, whole, timeout=self._timeout_s))

    def delete_side(self, table: SideTable, expression: str) -> None:
        """Delete the rows that an expression names; none is no error."""
        if self._has(table.name):
            self._when_ready(
                table, lambda client: client.delete(table.name, filter=expression, timeout=self._timeout_s)
            )

    def _create_side(self, table: SideTable) -> None:
        """Make the collection; where several processes do so at once, all of them go on with the one that is made."""
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(table.key, DataType.VARCHAR, max_length=_KEY_BYTES, is_primary=True)
        for name in table.fields:
            schema.add_field(name, DataType.VARCHAR, max_length=_FIELD_BYTES)
        schema.add_field("body", DataType.VARCHAR, max_length=table.body_bytes)
        schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2, description="Milvus wants a vector")

        def make(client: MilvusClient) -> None:
            try:
                client.create_collection(
                    table.name, schema=schema, index_params=_indexes(), timeout=max(self._timeout_s, LONG_CALL_S)
                )
            except MilvusException as error:
                if "exist" not in str(error.message).lower() and not client.has_collection(table.name):
                    raise

        self._repeatable(f"make {table.name}", make)

    def _when_ready(self, table: SideTable, ask: Callable[[MilvusClient], _Answer]) -> _Answer:
        deadline = time.monotonic() + _READY_S
        while True:
            try:
                return self._read(table.name, ask)
            except MilvusException:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_LOOK_AGAIN_S)
            self._complete_side(table)

    def _complete_side(self, table: SideTable) -> None:
        """Do what is left of making the collection, by a process that is at it or that died meanwhile."""

        def complete(client: MilvusClient) -> None:
            try:
                if not client.list_indexes(table.name):
                    client.create_index(table.name, _indexes(), timeout=max(self._timeout_s, LONG_CALL_S))
                client.load_collection(table.name, timeout=max(self._timeout_s, LONG_CALL_S))
            except MilvusException as error:
                logger.debug("%s is not ready: %s", table.name, error)  # the caller asks again, and raises in the end

        self._repeatable(f"make {table.name}", complete)


def _indexes() -> IndexParams:
    indexes = MilvusClient.prepare_index_params()
    indexes.add_index("unused", index_type="FLAT", metric_type="L2")
    return indexes
