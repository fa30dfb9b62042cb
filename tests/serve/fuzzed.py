"""Requests for passages that try to reach another tenant's documents: filters, overrides and fields made at random."""

from __future__ import annotations

import random
from collections.abc import Mapping

QUESTIONS = ("How long is the hawser?", "What is the secret word?", "lamp", "Which documents are there?")
# What might end a literal of an expression early, name the tenant's field, or match everything.
TEXTS = ("", "%", "_", '" or tenant == "{other}', "' or 1 == 1", "\\", "{other}", "tenant", "secret.md", "file:///")
FIELDS = ("document_id", "title", "uri", "page", "heading", "metadata.tenant", "tenant", "metadata.x y", "$meta")
OPS = ("==", "!=", "<", ">=", "in", "not in", "starts with", "contains")


def fuzzed(chance: random.Random, *, other: str) -> dict[str, object]:
    """The body of a POST /v1/retrieve.

    Args:
        chance: Where it comes from.
        other: Name of the tenant whose documents it is after.
    """
    given: dict[str, object] = {"filter": condition(chance, other=other, depth=3)} if chance.random() < 0.8 else {}
    for name, values in OVERRIDES.items():
        if chance.random() < 0.3:
            given[name] = chance.choice(values)
    body: dict[str, object] = {"model": "retrieval", "query": chance.choice(QUESTIONS), "graftwork": given}
    if chance.random() < 0.2:
        body[chance.choice(("tenant", "user", "cache_salt"))] = other
    return body


OVERRIDES: Mapping[str, tuple[object, ...]] = {
    "k": (1, 20, 50, 1000, -1),
    "neighbours": (0, 2, 99),
    "dense_weight": (0.0, 0.5, 1.0),
    "section_weight": (0.0, 1.0),
    "min_score": (None, -1.0, 0.0),
    "query": ("the secret word", " "),
    "tenant": ("default",),
    "collection": ("handbook",),
}


def condition(chance: random.Random, *, other: str, depth: int) -> dict[str, object]:
    """A filter, right or wrong."""
    kind = chance.random()
    if depth and kind < 0.35:
        parts = [condition(chance, other=other, depth=depth - 1) for _ in range(chance.randint(1, 3))]
        return {chance.choice(("and", "or")): parts}
    if depth and kind < 0.5:
        return {"not": condition(chance, other=other, depth=depth - 1)}
    text = chance.choice(TEXTS).replace("{other}", other)
    op = chance.choice(OPS)
    value: object = [text, "x"] if op in ("in", "not in") else chance.choice((text, text, text, 1))
    return {"field": chance.choice(FIELDS), "op": op, "value": value}
