"""Claims as rows of one small collection in Milvus, where every machine that can write documents sees them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import MilvusException
from pymilvus.milvus_client.index import IndexParams

from indexer.store.client import LONG_CALL_S, StoreClient
from indexer.store.connection import translated
from indexer.store.filters import literal
from indexer.store.lease import Claim

logger = logging.getLogger(__name__)

LEASES = "graftwork_leases"
_MAX_CLAIMS = 1000  # far more processes than ever ask at once for one collection
_READY_S = 10.0  # another process may just be making the collection: it has no index for a moment
_LOOK_AGAIN_S = 0.2
_BODY_BYTES = 4096
_Answer = TypeVar("_Answer")


class Leases(StoreClient):
    """Reads, writes and deletes claims; every read is at Strong consistency."""

    def read_claims(self, collection: str) -> list[Claim]:
        """Return all claims on a collection, also those that have ended."""
        if not self._has_leases():
            return []
        rows = self._when_ready(
            lambda client: client.query(
                LEASES,
                filter=f"collection == {literal(collection)}",
                output_fields=["body"],
                consistency_level="Strong",
                limit=_MAX_CLAIMS,
                timeout=self._timeout_s,
            )
        )
        return [Claim(**json.loads(str(row["body"]))) for row in rows]

    def write_claim(self, claim: Claim) -> None:
        """Write a claim, or renew it; returns when every later read sees it."""
        if not self._has_leases():
            self._create_leases()
        row = {
            "claim": claim.key,
            "collection": claim.collection,
            "body": json.dumps(asdict(claim)),
            "unused": [0.0, 1.0],
        }
        self._when_ready(lambda client: client.upsert(LEASES, [row], timeout=self._timeout_s))

    def delete_claims(self, claims: list[Claim]) -> None:
        """Delete claims; one that is not there is no error."""
        if not claims:
            return
        listed = ", ".join(literal(claim.key) for claim in claims)
        self._when_ready(lambda client: client.delete(LEASES, filter=f"claim in [{listed}]", timeout=self._timeout_s))

    def _has_leases(self) -> bool:
        with translated(self.uri, "find the leases"):
            return bool(self.client().has_collection(LEASES, timeout=self._timeout_s))

    def _create_leases(self) -> None:
        """Make the collection; where several processes do so at once, all of them go on with the one that is made."""
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("claim", DataType.VARCHAR, max_length=64, is_primary=True)
        schema.add_field("collection", DataType.VARCHAR, max_length=255)
        schema.add_field("body", DataType.VARCHAR, max_length=_BODY_BYTES)
        schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2, description="Milvus wants a vector")
        with translated(self.uri, "make the leases"):
            try:
                self.client().create_collection(
                    LEASES, schema=schema, index_params=_indexes(), timeout=max(self._timeout_s, LONG_CALL_S)
                )
            except MilvusException as error:
                if "exist" not in str(error.message).lower() and not self._has_leases():
                    raise

    def _when_ready(self, ask: Callable[[MilvusClient], _Answer]) -> _Answer:
        deadline = time.monotonic() + _READY_S
        while True:
            try:
                return self._read(LEASES, ask)
            except MilvusException:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_LOOK_AGAIN_S)
            self._complete_leases()

    def _complete_leases(self) -> None:
        """Do what is left of making the collection, by a process that is at it or that died meanwhile."""
        client = self.client()
        with translated(self.uri, "make the leases"):
            try:
                if not client.list_indexes(LEASES):
                    client.create_index(LEASES, _indexes(), timeout=max(self._timeout_s, LONG_CALL_S))
                client.load_collection(LEASES, timeout=max(self._timeout_s, LONG_CALL_S))
            except MilvusException as error:
                logger.debug("%s is not ready: %s", LEASES, error)  # the caller asks again, and raises in the end


def _indexes() -> IndexParams:
    indexes = MilvusClient.prepare_index_params()
    indexes.add_index("unused", index_type="FLAT", metric_type="L2")
    return indexes
