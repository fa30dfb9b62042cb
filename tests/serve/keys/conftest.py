"""Key entries and their tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from serve.keys.document import KeyEntry
from serve.keys.secret import Token, hash_secret, new_token

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def made(**fields: Any) -> tuple[Token, KeyEntry]:
    """A token and its entry, of tenant farm unless another is given."""
    token = new_token()
    given = {"id": token.key_id, "tenant": "farm", "sha256": hash_secret(token.secret).hex(), "created_at": NOW}
    return token, KeyEntry(**{**given, **fields})
