"""Documents that failed, kept beside the collection until they are indexed or gone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from indexer.identity import letter_key
from indexer.store.filters import any_of, collection_and_tenant
from indexer.store.side_table import SideTable, SideTables

LETTERS = SideTable(name="graftwork_dead_letters", key="letter", fields=("collection", "tenant"), body_bytes=16_384)
_DELETED_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A document that is not in a collection, or only in an older version, because it failed.

    Attributes:
        uri: Where the document is.
        file: URI of the file that it is in.
        source_id: The stem of the ids of that file's documents.
        stage: Where it failed, as in `FailedDocument`.
        reason: One sentence for the user.
        first: When it failed first, ISO time in UTC.
        last: When it failed last.
        attempts: How often it failed in a row.
    """

    uri: str
    file: str
    source_id: str
    stage: str
    reason: str
    first: str
    last: str
    attempts: int


class Letters(SideTables):
    """Reads, writes and deletes dead letters of one tenant of a collection."""

    def read_letters(self, collection: str, *, tenant: str) -> list[DeadLetter]:
        """Return all dead letters, by document."""
        bodies = self.read_side(LETTERS, collection_and_tenant(collection, tenant))
        return sorted((DeadLetter(**json.loads(body)) for body in bodies), key=lambda letter: letter.uri)

    def write_letters(self, collection: str, letters: Sequence[DeadLetter], *, tenant: str) -> None:
        """Write dead letters, replacing those of the same documents."""
        rows = [
            {
                "letter": letter_key(collection=collection, tenant=tenant, uri=letter.uri),
                "collection": collection,
                "tenant": tenant,
                "body": json.dumps(asdict(letter), ensure_ascii=False),
            }
            for letter in letters
        ]
        self.write_side(LETTERS, rows)

    def delete_letters(self, collection: str, uris: Sequence[str], *, tenant: str) -> None:
        """Delete the dead letters of some documents."""
        keys = [letter_key(collection=collection, tenant=tenant, uri=uri) for uri in uris]
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            self.delete_side(LETTERS, any_of("letter", keys[start : start + _DELETED_AT_ONCE]))
