"""index.json: the one small object that says which versions exist, which of them serve, and what changed last.

Its revision grows with every change. Replicas poll nothing else.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from indexer.errors import InputError
from train.registry.manifest import API_VERSION

EVENTS_KEPT = 200
# Former stable versions that can be gone back to, one after the other.
FORMER_KEPT = 20

Verb = Literal[
    "publish", "promote", "rollback", "canary", "pin", "unpin", "retire", "repair", "apply specialist",
    "remove specialist",
]  # fmt: skip


def _is_empty(value: object) -> bool:
    return value is None or value == ()


def _holds(ascending: tuple[int, ...], number: int) -> bool:
    place = bisect_left(ascending, number)
    return place < len(ascending) and ascending[place] == number


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Canary(_Entry):
    """A version on trial: name@stable means it for a share of the users."""

    version: int = Field(ge=1, description="The version.")
    percent: int = Field(ge=1, le=100, description="Its share of the users, of a hundred.")


class AdapterEntry(_Entry):
    """The versions of one adapter."""

    versions: tuple[int, ...] = Field(description="Published versions, ascending, retired ones among them.")
    stable: int | None = Field(default=None, description="The version that name@stable means.")
    former: tuple[int, ...] = Field(
        default=(), exclude_if=_is_empty, description="Versions that were stable before, the latest last."
    )
    canary: Canary | None = Field(default=None, exclude_if=_is_empty, description="The version on trial.")
    retired: tuple[int, ...] = Field(
        default=(), exclude_if=_is_empty, description="Versions that are served no more, ascending."
    )
    pinned: tuple[int, ...] = Field(
        default=(), exclude_if=_is_empty, description="Versions that replicas keep loaded, ascending."
    )

    @property
    def live(self) -> tuple[int, ...]:
        """Versions that may be served, ascending."""
        retired = set(self.retired)
        return tuple(version for version in self.versions if version not in retired)

    def has(self, version: int) -> bool:
        """Whether a version is published, retired or not."""
        return _holds(self.versions, version)

    def serves(self, version: int) -> bool:
        """Whether a version may be served."""
        return _holds(self.versions, version) and not _holds(self.retired, version)


class Event(_Entry):
    """One change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)

    revision: int = Field(ge=1, description="Revision that the change made.")
    at: datetime = Field(description="When, UTC.")
    who: str = Field(description="Who: a user, or a key's id.")
    verb: Verb = Field(description="What was done.")
    adapter: str | None = Field(default=None, exclude_if=_is_empty, description="The adapter, where it is about one.")
    specialist: str | None = Field(
        default=None, exclude_if=_is_empty, description="The specialist, where it is about one."
    )
    before: str | None = Field(default=None, alias="from", description="What it was before.")
    after: str | None = Field(default=None, alias="to", description="What it is now.")


class RegistryIndex(_Entry):
    """The whole index."""

    api_version: str = API_VERSION
    revision: int = Field(default=0, ge=0, description="Grows by one with every change.")
    next_engine_id: int = Field(default=1, ge=1, description="Engine id of the next version to be published.")
    adapters: dict[str, AdapterEntry] = Field(default_factory=dict, description="Adapters by name.")
    specialists: tuple[str, ...] = Field(default=(), description="Names of the specialists, sorted.")
    reserved: dict[str, int] = Field(
        default_factory=dict,
        description="Highest version number given out of an adapter, where it is above all that are published.",
    )
    writer: str = Field(
        default="", description="A random word of the last write: two writers never leave the same bytes."
    )
    events: tuple[Event, ...] = Field(default=(), description=f"The last {EVENTS_KEPT} changes, the latest last.")

    def reserving(self, name: str, *, above: int = 0) -> tuple[RegistryIndex, int, int]:
        """Give out the next version number of an adapter and the next engine id; neither is ever given out again.

        Args:
            name: The adapter.
            above: A number that is in use already.

        Returns:
            The index, of the same revision, the version and the engine id.
        """
        entry = self.adapters.get(name)
        published = max(entry.versions, default=0) if entry is not None else 0
        version = 1 + max(published, self.reserved.get(name, 0), above)
        index = self.model_copy(
            update={"reserved": {**self.reserved, name: version}, "next_engine_id": self.next_engine_id + 1}
        )
        return index, version, self.next_engine_id

    def with_entry(self, name: str, entry: AdapterEntry) -> RegistryIndex:
        """Replace what is known of one adapter; the revision stays."""
        highest = max(entry.versions, default=0)
        reserved = {other: number for other, number in self.reserved.items() if other != name or number > highest}
        return self.model_copy(update={"adapters": {**self.adapters, name: entry}, "reserved": reserved})

    def with_specialists(self, names: Sequence[str]) -> RegistryIndex:
        """Replace the names of the specialists; the revision stays."""
        return self.model_copy(update={"specialists": tuple(sorted(set(names)))})

    def recorded(
        self,
        verb: Verb,
        *,
        who: str,
        at: datetime,
        adapter: str | None = None,
        specialist: str | None = None,
        before: str | None = None,
        after: str | None = None,
    ) -> RegistryIndex:
        """Raise the revision by one and keep what was done."""
        event = Event(
            revision=self.revision + 1,
            at=at,
            who=who,
            verb=verb,
            adapter=adapter,
            specialist=specialist,
            before=before,
            after=after,
        )
        events = (*self.events, event)[-EVENTS_KEPT:]
        return self.model_copy(update={"revision": event.revision, "events": events})


def parse_index(content: bytes, *, where: str) -> RegistryIndex:
    """Read an index.

    Raises:
        InputError: It is not one, or of an api_version this code does not know.
    """
    try:
        index = RegistryIndex.model_validate_json(content)
    except ValidationError as error:
        raise InputError(
            f"{where} is not a registry index: {error.errors()[0]['msg']}; restore it from a backup."
        ) from error
    if index.api_version != API_VERSION:
        raise InputError(
            f"{where} has api_version {index.api_version!r}, this Graftwork reads {API_VERSION!r}; upgrade it."
        )
    return index


def write_index(index: RegistryIndex) -> bytes:
    """The index as it is stored: short, for it has a line's worth of every version."""
    return index.model_dump_json().encode()
