"""Specialists go into a registry and out of it; what their documents may say is for `serve.specialist`."""

from __future__ import annotations

from datetime import UTC, datetime

from indexer.errors import ConflictError
from train.registry.author import user_name
from train.registry.index import RegistryIndex
from train.registry.layout import specialist_key
from train.registry.registry import AdapterRegistry
from train.registry.specialists import named_adapters, parse_document


def write_specialist(name: str, document: bytes, *, registry: AdapterRegistry, who: str | None = None) -> None:
    """Store a specialist's JSON document, replacing one of the same name.

    Raises:
        InputError: A bad name, the document is not a JSON object, or the registry lost its index.
        ConflictError: It names an adapter version that is retired, or other writers changed the registry time after
            time.
        UnavailableError: The registry's bucket cannot be reached.
    """
    key = specialist_key(name)
    refs = named_adapters(parse_document(name, document))

    def named(index: RegistryIndex) -> tuple[RegistryIndex, None]:
        _check_none_retired(name, refs, index)
        registry.storage.write(key, document)
        known = index.specialists
        return (
            index.with_specialists((*known, name)).recorded(
                "apply specialist",
                who=who or user_name(),
                at=datetime.now(UTC),
                specialist=name,
                before="applied" if name in known else None,
                after="applied",
            ),
            None,
        )

    # Where there is no index yet it comes first: a document without one would be a damaged registry.
    if registry.snapshot().tag is None:
        registry.change(lambda index: (index.model_copy(), None))
    registry.change(named)


def remove_specialist(name: str, *, registry: AdapterRegistry, who: str | None = None) -> None:
    """Take a specialist out.

    Raises:
        InputError: A bad name, or the registry lost its index.
        NotFoundError: There is none of this name.
        ConflictError: Other writers changed the registry time after time.
        UnavailableError: The registry's bucket cannot be reached.
    """
    key = specialist_key(name)

    def without(index: RegistryIndex) -> tuple[RegistryIndex, None]:
        if name not in index.specialists:
            raise registry.unknown_specialist(name, index)
        left = index.with_specialists([other for other in index.specialists if other != name])
        return (
            left.recorded(
                "remove specialist",
                who=who or user_name(),
                at=datetime.now(UTC),
                specialist=name,
                before="applied",
            ),
            None,
        )

    registry.change(without)
    with registry.storage.exclusive():
        if name not in registry.specialists():  # applied again since
            registry.storage.delete(key)


def _check_none_retired(specialist: str, refs: tuple[str, ...], index: RegistryIndex) -> None:
    for ref in refs:
        name, _, version = ref.partition("@")
        entry = index.adapters.get(name)
        if entry is not None and version.isdecimal() and int(version) in entry.retired:
            raise ConflictError(
                f"The specialist {specialist} names {ref}, which is retired and served no more; name another version."
            )
