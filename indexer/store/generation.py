"""What a physical collection says about itself, and whether an embedder may use it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from indexer.embedding.files import same_weights
from indexer.errors import InputError
from indexer.names import split_physical
from indexer.store.schema import EMBEDDER_PROPERTY
from indexer.types import Generation


def check_embedder(made: Generation, *, embedder: str) -> None:
    """Refuse to mix vectors of two models.

    Raises:
        InputError: The collection was made by another model; the sentence names both.
    """
    if not same_weights(made.embedder, embedder):
        raise InputError(
            f"Collection {made.alias!r} was made by embedder {made.embedder}, not by {embedder}; "
            f"set indexer.embedder to the first, or index into a new collection."
        )


def read_generation(details: Mapping[str, object], *, alias: str, physical: str) -> Generation | None:
    """Return what Milvus's description of a collection tells, or None if Graftwork did not make it."""
    parts = split_physical(physical)
    embedder = _recorded_embedder(details)
    if parts is None or embedder is None:
        return None
    return Generation(
        alias=alias, physical=physical, number=parts[1], embedder=embedder, dimension=_dense_dimension(details)
    )


def _recorded_embedder(details: Mapping[str, object]) -> str | None:
    properties = details.get("properties")
    if isinstance(properties, Mapping) and (value := properties.get(EMBEDDER_PROPERTY)):
        return str(value)
    try:
        description = json.loads(str(details.get("description") or "{}"))
    except ValueError:
        return None
    value = description.get("embedder") if isinstance(description, dict) else None
    return None if value is None else str(value)


def _dense_dimension(details: Mapping[str, object]) -> int:
    fields = details["fields"]
    assert isinstance(fields, list)
    return next(int(field["params"]["dim"]) for field in fields if field["name"] == "dense")
