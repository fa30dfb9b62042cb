"""Documents that failed, kept beside the collection until they are indexed or gone."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from indexer.fields import known_fields
from indexer.identity import letter_key
from indexer.store.expressions import any_of, collection_and_tenant
from indexer.store.side_table import SideTable, SideTables

LETTERS = SideTable(name="graftwork_dead_letters", key="letter", fields=("collection", "tenant"), body_bytes=16_384)
_DELETED_AT_ONCE = 200
_WRITTEN_AT_ONCE = 200  # 3 MB at most, of the 64 MB that a server takes in one message

logger = logging.getLogger(__name__)


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
        letters = (DeadLetter(**known_fields(DeadLetter, json.loads(body))) for body in bodies)
        return sorted(letters, key=lambda letter: letter.uri)

    def write_letters(self, collection: str, letters: Sequence[DeadLetter], *, tenant: str) -> None:
        """Write dead letters, replacing those of the same documents; one that has no room is told in the log."""
        rows: list[dict[str, str]] = []
        for letter in letters:
            if (body := letter_body(letter)) is None:
                logger.warning("no dead letter is kept of %s: its address alone is longer than one may be", letter.uri)
                continue
            key = letter_key(collection=collection, tenant=tenant, uri=letter.uri)
            rows.append({"letter": key, "collection": collection, "tenant": tenant, "body": body})
        for start in range(0, len(rows), _WRITTEN_AT_ONCE):
            self.write_side(LETTERS, rows[start : start + _WRITTEN_AT_ONCE])

    def delete_letters(self, collection: str, uris: Sequence[str], *, tenant: str) -> None:
        """Delete the dead letters of some documents."""
        keys = [letter_key(collection=collection, tenant=tenant, uri=uri) for uri in uris]
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            self.delete_side(LETTERS, any_of("letter", keys[start : start + _DELETED_AT_ONCE]))


def letter_body(letter: DeadLetter) -> str | None:
    """Return what a row holds of a letter, the reason cut to the room that is left; None where there is no room."""
    kept = letter
    while len((body := json.dumps(asdict(kept), ensure_ascii=False)).encode("utf-8", "replace")) > LETTERS.body_bytes:
        if not kept.reason:
            return None
        kept = replace(kept, reason=kept.reason[: len(kept.reason) * 7 // 8])
    return body
