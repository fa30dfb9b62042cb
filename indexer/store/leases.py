"""Claims as rows of one small collection in Milvus, where every machine that can write documents sees them."""

from __future__ import annotations

import json
from dataclasses import asdict

from indexer.fields import known_fields
from indexer.store.expressions import any_of, collection_is
from indexer.store.lease import Claim
from indexer.store.side_table import SideTable, SideTables

LEASES = SideTable(name="graftwork_leases", key="claim", fields=("collection",), body_bytes=4096)


class Leases(SideTables):
    """Reads, writes and deletes claims."""

    def read_claims(self, collection: str) -> list[Claim]:
        """Return all claims on a collection, also those that have ended."""
        bodies = self.read_side(LEASES, collection_is(collection))
        return [Claim(**known_fields(Claim, json.loads(body))) for body in bodies]

    def write_claim(self, claim: Claim) -> None:
        """Write a claim, or renew it; returns when every later read sees it."""
        self.write_side(
            LEASES, [{"claim": claim.key, "collection": claim.collection, "body": json.dumps(asdict(claim))}]
        )

    def delete_claims(self, claims: list[Claim]) -> None:
        """Delete claims; one that is not there is no error."""
        if claims:
            self.delete_side(LEASES, any_of("claim", [claim.key for claim in claims]))
