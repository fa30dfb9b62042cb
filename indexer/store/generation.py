"""What a physical collection says about itself, and whether an embedder may use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from indexer.embedding.files import same_weights
from indexer.errors import InputError
from indexer.fields import known_fields
from indexer.names import split_physical
from indexer.store.schema import (
    ADVISED_PROPERTY,
    CHUNKER_PROPERTY,
    EMBEDDER_PROPERTY,
    PARSERS_PROPERTY,
    ROLLED_BACK_PROPERTY,
    SCHEMA_PROPERTY,
    SCHEMA_VERSION,
    VERIFIED_PROPERTY,
)
from indexer.types import FusionWeights, Generation, Identity, Verification


def check_embedder(made: Generation, *, embedder: str) -> None:
    """Refuse to mix vectors of two models.

    Raises:
        InputError: The collection was made by another model; the sentence names both.
    """
    if not same_weights(made.embedder, embedder):
        raise InputError(
            f"Collection {made.alias!r} was made by embedder {made.embedder}, not by {embedder}; "
            f"set indexer.embedder to the first, or index the documents again to build a generation with the second."
        )


def identity_differences(made: Identity, wanted: Identity) -> tuple[str, ...]:
    """Say what of an identity asks for a new generation; parsers do not, their documents are indexed anew in place."""
    found = []
    if not same_weights(made.embedder, wanted.embedder):
        found.append(f"embedder {wanted.embedder} instead of {made.embedder}")
    if made.chunker != wanted.chunker:
        found.append(f"chunker {wanted.chunker} instead of {made.chunker or 'one that is not recorded'}")
    if made.schema != wanted.schema:
        found.append(f"schema {wanted.schema} instead of {made.schema}")
    return tuple(found)


def read_generation(details: Mapping[str, object], *, alias: str, physical: str) -> Generation | None:
    """Return what Milvus's description of a collection tells, or None if Graftwork did not make it."""
    parts = split_physical(physical)
    embedder = _recorded_embedder(details)
    if parts is None or embedder is None:
        return None
    recorded = _properties(details)
    return Generation(
        alias=alias,
        physical=physical,
        number=parts[1],
        identity=Identity(
            embedder=embedder,
            dimension=_dense_dimension(details),
            chunker=recorded.get(CHUNKER_PROPERTY, ""),
            parsers=tuple(recorded.get(PARSERS_PROPERTY, "").split()),
            schema=int(recorded.get(SCHEMA_PROPERTY, SCHEMA_VERSION)),
        ),
        verified=_verification(recorded.get(VERIFIED_PROPERTY, "")),
        rolled_back=bool(recorded.get(ROLLED_BACK_PROPERTY)),
        advised=_advised(recorded.get(ADVISED_PROPERTY, "")),
    )


def verified_properties(verification: Verification | None) -> dict[str, str]:
    """Return the property that says what a complete build showed; None takes it back while rows are written."""
    return {VERIFIED_PROPERTY: "" if verification is None else json.dumps(asdict(verification))}


def advised_properties(weights: FusionWeights) -> dict[str, str]:
    """Return the property that keeps the weights which an evaluation advised."""
    return {ADVISED_PROPERTY: json.dumps(asdict(weights))}


def _verification(recorded: str) -> Verification | None:
    return Verification(**known_fields(Verification, json.loads(recorded))) if recorded else None


def _advised(recorded: str) -> FusionWeights | None:
    return FusionWeights(**known_fields(FusionWeights, json.loads(recorded))) if recorded else None


def _properties(details: Mapping[str, object]) -> dict[str, str]:
    properties = details.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    return {str(name): str(value) for name, value in properties.items()}


def _recorded_embedder(details: Mapping[str, object]) -> str | None:
    if recorded := _properties(details).get(EMBEDDER_PROPERTY):
        return recorded
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
