"""What the registry itself must know of a specialist's document: which adapter versions it names."""

from __future__ import annotations

import json

from indexer.errors import InputError


def parse_document(name: str, document: bytes) -> dict[str, object]:
    """Read a document as a JSON object; `serve.specialist` knows what may stand in it.

    Raises:
        InputError: It is none.
    """
    try:
        parsed = json.loads(document)
    except ValueError as error:
        raise InputError(f"The document of the specialist {name} is not JSON: {error}.") from error
    if not isinstance(parsed, dict):
        raise InputError(f"The document of the specialist {name} is not a JSON object.")
    return parsed


def named_adapters(document: dict[str, object]) -> tuple[str, ...]:
    """References such as 'ropes@3' and 'ropes@stable' under `adapter`, alone or as arms of a weighted list."""
    adapter = document.get("adapter")
    arms = adapter if isinstance(adapter, list) else [adapter]
    refs = [arm.get("ref") if isinstance(arm, dict) else arm for arm in arms]
    return tuple(ref for ref in refs if isinstance(ref, str))
