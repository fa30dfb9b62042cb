"""A filter as an expression of Milvus.

Opposites are carried down to the conditions, so that no server's idea of a missing value under `not` matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from indexer.filters import HEADING, METADATA, PAGE, UPDATED, And, Condition, Filter, Not, Op
from indexer.store.expressions import literal, prefix_range, tenant_is

_OPPOSITES: Mapping[Op, Op] = {
    "==": "!=",
    "!=": "==",
    "<": ">=",
    ">=": "<",
    "<=": ">",
    ">": "<=",
    "in": "not in",
    "not in": "in",
}


def tenant_and_filter(tenant: str, given: Filter | None) -> str:
    """Return the expression for the rows of one tenant that a filter lets through."""
    return tenant_is(tenant) if given is None else f"{tenant_is(tenant)} and {expression(given)}"


def expression(given: Filter, *, opposite: bool = False) -> str:
    """Return a filter's expression, in brackets.

    Args:
        given: The filter.
        opposite: Whether what it refuses is asked for.
    """
    if isinstance(given, Condition):
        return f"({_condition(given, opposite=opposite)})"
    if isinstance(given, Not):
        return expression(given.part, opposite=not opposite)
    word = " and " if isinstance(given, And) != opposite else " or "
    return f"({word.join(expression(part, opposite=opposite) for part in given.parts)})"


def _condition(given: Condition, *, opposite: bool) -> str:
    if given.field == HEADING:
        found = f"json_contains(heading_path, {literal(str(given.value))})"
        return f"not {found}" if opposite else found
    if given.field == UPDATED:
        return f"updated_at {_OPPOSITES[given.op] if opposite else given.op} {given.milliseconds}"
    if given.op == "starts with":
        return _with_field(given, _starts_with(_place(given), str(given.value), opposite=opposite))
    op = _OPPOSITES[given.op] if opposite else given.op
    return _with_field(given, _compared(_place(given), op, given.values))


def _place(given: Condition) -> str:
    if given.field.startswith(METADATA):
        return f"metadata[{literal(given.field.removeprefix(METADATA))}]"
    return given.field


def _with_field(given: Condition, met: str) -> str:
    """Limit what is asked for to rows that have the field at all."""
    if given.field == PAGE:
        return f"page > 0 and ({met})"
    return f"exists {_place(given)} and ({met})" if given.field.startswith(METADATA) else met


def _compared(place: str, op: Op, values: Iterable[str | int]) -> str:
    """Lists are written out: milvus-lite knows `in` for plain fields only."""
    written = [literal(value) if isinstance(value, str) else str(value) for value in values]
    each, word = {"in": ("==", " or "), "not in": ("!=", " and ")}.get(op, (op, ""))
    return word.join(f"{place} {each} {value}" for value in written)


def _starts_with(place: str, prefix: str, *, opposite: bool) -> str:
    first, above = prefix_range(prefix)
    return f"{place} < {first} or {place} >= {above}" if opposite else f"{place} >= {first} and {place} < {above}"
