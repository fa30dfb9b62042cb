"""Who sends a request, and what that one may do."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

_SCOPE_KEY = "graftwork.principal"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one key may take; None is no limit.

    Attributes:
        requests_per_minute: Requests within any minute.
        tokens_per_minute: Tokens within any minute, of prompts and answers together.
        streams: Streams open at the same time.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    streams: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing is limited."""
        return self == Limits()


@dataclass(frozen=True, slots=True)
class Principal:
    """The sender of a request; comes from its key alone, never from the request's body.

    Attributes:
        tenant: Whose documents may be seen and whose cached blocks are shared.
        key_id: Public name of the key; None where the app asks for no keys.
        models: Model names that may be called, as clients write them; None is all.
        collections: Collections that specialists may answer from; None is all.
        limits: What the key may take.
        max_passages: Passages that a request may ask for; 0 lets it change nothing of a retrieval, None is no limit.
        admin: Whether the key may change what the registry serves.
    """

    tenant: str
    key_id: str | None = None
    models: frozenset[str] | None = None
    collections: frozenset[str] | None = None
    limits: Limits = Limits()
    max_passages: int | None = None
    admin: bool = False

    @property
    def may_administer(self) -> bool:
        """Whether the registry's verbs are the sender's to use: by the key, or by anyone where none is asked for."""
        return self.admin or self.key_id is None


def put_principal(scope: Scope, principal: Principal) -> None:
    """Attach its sender to a request."""
    scope[_SCOPE_KEY] = principal


def find_principal(scope: Scope) -> Principal | None:
    """The request's sender; None on routes that ask for no key, and where the request was refused."""
    principal = scope.get(_SCOPE_KEY)
    return principal if isinstance(principal, Principal) else None


def get_principal(scope: Scope) -> Principal:
    """The sender of a request that got past `AuthenticateLayer` on a route that asks for a key."""
    principal = find_principal(scope)
    assert principal is not None
    return principal
