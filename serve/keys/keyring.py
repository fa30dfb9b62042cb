"""Which principal a token stands for: a lookup in memory, in a time that tells nothing about the keys."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from serve.keys.document import KeyEntry, KeysDocument
from serve.keys.secret import hash_secret, parse_token
from serve.principal import Limits, Principal

# Compared with where no key has the id; no secret that anyone could find hashes to it.
_NO_HASH = bytes(32)


@dataclass(frozen=True, slots=True)
class _Key:
    digest: bytes
    expires_at: datetime | None
    principal: Principal


_NO_KEY = _Key(_NO_HASH, None, Principal(tenant=""))


class Keyring:
    """The keys of one version of the key file."""

    def __init__(self, document: KeysDocument) -> None:
        """Prepare the keys of a document."""
        self._keys: Mapping[str, _Key] = {entry.id: _key_of(entry) for entry in document.keys}

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def tenants(self) -> frozenset[str]:
        """The tenants that have keys."""
        return frozenset(key.principal.tenant for key in self._keys.values())

    def check(self, token: str, *, now: datetime) -> Principal | None:
        """Say whom a token stands for.

        An unknown id costs the same work as a wrong secret, and hashes are compared in constant time.

        Args:
            token: What the client sent.
            now: The time, with its zone; a key is refused from the moment it expires.

        Returns:
            The principal, or None where the token is no valid key, whatever the reason.
        """
        parsed = parse_token(token)
        if parsed is None:
            return None
        key = self._keys.get(parsed.key_id, _NO_KEY)
        if not hmac.compare_digest(key.digest, hash_secret(parsed.secret)) or key is _NO_KEY:
            return None
        if key.expires_at is not None and now >= key.expires_at:
            return None
        return key.principal


def _key_of(entry: KeyEntry) -> _Key:
    principal = Principal(
        tenant=entry.tenant,
        key_id=entry.id,
        models=None if entry.models is None else frozenset(entry.models),
        collections=None if entry.collections is None else frozenset(entry.collections),
        limits=Limits(**entry.limits.model_dump()),
        max_passages=entry.max_passages,
        admin=entry.admin,
    )
    return _Key(bytes.fromhex(entry.sha256), entry.expires_at, principal)
