"""Milvus boolean expressions; built only here and, of filters, in `conditions`, so that no value comes in unescaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from indexer.errors import InputError

TENANT_MAX_BYTES = 128


def check_tenant(tenant: str) -> str:
    """Return `tenant` if it can be stored and filtered by.

    Raises:
        InputError: Empty, too long or not printable.
    """
    if not tenant or not tenant.isprintable() or len(tenant.encode()) > TENANT_MAX_BYTES:
        raise InputError(f"Tenant {tenant!r} cannot be used: give 1 to {TENANT_MAX_BYTES} bytes of printable text.")
    return tenant


def literal(value: str) -> str:
    """Return `value` as a quoted string literal of a Milvus expression."""
    return json.dumps(value, ensure_ascii=False)


def tenant_is(tenant: str) -> str:
    """Return the expression that limits a search or a delete to one tenant."""
    return f"tenant == {literal(check_tenant(tenant))}"


def tenant_and_documents(tenant: str, document_ids: Iterable[str]) -> str:
    """Return the expression for the rows of these documents of one tenant."""
    return f"{tenant_is(tenant)} and {any_of('document_id', document_ids)}"


def tenant_and_prefix(tenant: str, prefix: str) -> str:
    """Return the expression for a tenant's rows whose document id begins with `prefix`."""
    if not prefix:
        return tenant_is(tenant)
    first, above = prefix_range(prefix)
    return f"{tenant_is(tenant)} and document_id >= {first} and document_id < {above}"


def prefix_range(prefix: str) -> tuple[str, str]:
    """Return two literals: what begins with `prefix` is at or above the first and below the second.

    A range, because `like` treats `%` and `_` in a value as wildcards, and servers differ in how these are escaped.
    """
    return literal(prefix), literal(prefix + chr(0x10FFFF))


def tenant_and_chunks(tenant: str, chunk_ids: Iterable[str]) -> str:
    """Return the expression for some rows of one tenant."""
    return f"{tenant_is(tenant)} and {chunks_are(chunk_ids)}"


def tenant_and_places(tenant: str, places: Mapping[str, Iterable[int]]) -> str:
    """Return the expression for the rows of one tenant at these ordinals of each document."""
    each = []
    for document_id, ordinals in places.items():
        numbers = ", ".join(str(int(ordinal)) for ordinal in ordinals)
        each.append(f"({any_of('document_id', [document_id])} and ordinal in [{numbers}])")
    return f"{tenant_is(tenant)} and ({' or '.join(each)})"


def chunks_are(chunk_ids: Iterable[str]) -> str:
    """Return the expression for rows by primary key."""
    return any_of("chunk_id", chunk_ids)


def collection_is(collection: str) -> str:
    """Return the expression for a side table's rows of one collection."""
    return f"collection == {literal(collection)}"


def collection_and_tenant(collection: str, tenant: str) -> str:
    """Return the expression for a side table's rows of one tenant of one collection."""
    return f"{collection_is(collection)} and {tenant_is(tenant)}"


def any_of(field: str, values: Iterable[str]) -> str:
    """Return the expression for the rows whose field is one of some values."""
    return f"{field} in [{', '.join(literal(value) for value in values)}]"


def behind_key(expression: str, field: str, key: str) -> str:
    """Return the expression for those rows of another whose key comes after one; an empty key is before all.

    Args:
        expression: The other; empty for all rows.
        field: Name of the field with the key.
        key: The key.
    """
    if not key:
        return expression
    behind = f"{field} > {literal(key)}"
    return f"({expression}) and {behind}" if expression else behind
