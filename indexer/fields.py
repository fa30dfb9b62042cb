"""Records that another version of Graftwork has written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def known_fields(kind: type[DataclassInstance], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a dataclass knows of a record; a later version's fields are left out."""
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in recorded.items() if name in names}
