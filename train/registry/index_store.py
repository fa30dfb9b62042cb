"""Reads the index of a registry, and replaces it so that no change of another writer is lost."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from indexer.errors import ConflictError, InputError
from train.registry.index import RegistryIndex, parse_index, write_index
from train.registry.layout import INDEX, MANIFEST
from train.registry.place import place_of
from train.registry.storage import ChangedError, Storage

# Other writers were quicker this often, one after the other; waits between double, up to the last.
_ATTEMPTS = 12
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.02, 1.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The index at one moment.

    Attributes:
        index: The index; an empty one where there is none yet.
        tag: Names this content; None where there is none yet.
        content: Its bytes.
    """

    index: RegistryIndex
    tag: str | None
    content: bytes


class IndexStore:
    """The index object of one registry. Safe to use from several threads."""

    def __init__(self, storage: Storage) -> None:
        """Remember where; nothing is read yet."""
        self._storage = storage
        self._last: Snapshot | None = None

    def read(self) -> Snapshot:
        """Return the index as it is now; where its tag is the known one, nothing else of it is read.

        Raises:
            InputError: It is broken, or it is missing although something is published.
            UnavailableError: The place cannot be reached.
        """
        last = self._last
        try:
            if last is None or last.tag is None:
                stored = self._storage.read(INDEX)
            else:
                changed = self._storage.read_changed(INDEX, last.tag)
                if changed is None:
                    return last
                stored = changed
        except FileNotFoundError:
            return self._absent()
        same = last is not None and last.content == stored.content
        index = last.index if last is not None and same else parse_index(stored.content, where=self._where)
        self._last = Snapshot(index, stored.tag, stored.content)
        return self._last

    def change(self, make: Callable[[RegistryIndex], tuple[RegistryIndex, T]]) -> T:
        """Replace the index by what `make` makes of it; where another writer was quicker, of what that one left.

        Args:
            make: Returns the new index and a result; called again after another writer's change. The same index back
                writes nothing.

        Returns:
            The result that belongs to the index that was written.

        Raises:
            ConflictError: Other writers were quicker time after time, or held the registry for a minute.
            InputError: The index is broken or lost.
        """
        for attempt in range(_ATTEMPTS):
            with self._storage.exclusive():
                seen = self.read()
                index, result = make(seen.index)
                if index is seen.index:
                    return result
                content = write_index(index.model_copy(update={"writer": uuid.uuid4().hex}))
                try:
                    self._storage.replace(INDEX, content, tag=seen.tag)
                    return result
                except ChangedError:
                    # The client asks again where an answer was lost, and then meets what it wrote itself.
                    if self.read().content == content:
                        return result
            time.sleep(random.uniform(0, min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)))
        raise ConflictError(
            f"Other writers changed the registry {self._storage.place} {_ATTEMPTS} times while this one tried; "
            "nothing was changed, try again."
        )

    def _absent(self) -> Snapshot:
        if self._has_content() and not self._is_there():
            raise InputError(
                f"The registry {self._storage.place} has adapters or specialists but no {INDEX}; put the file back "
                "from a backup, or move the folder away and publish again into a new one."
            )
        self._last = None
        return Snapshot(RegistryIndex(), None, b"")

    def _has_content(self) -> bool:
        """Whether there is what an index must name."""
        manifests = (held for held in self._storage.held("adapters") if Path(held.key).name == MANIFEST)
        return any(True for _ in manifests) or any(
            held.key.endswith(".json") for held in self._storage.held("specialists")
        )

    def _is_there(self) -> bool:
        try:
            self._storage.read(INDEX)
        except FileNotFoundError:
            return False
        return True

    @property
    def _where(self) -> str:
        return place_of(self._storage.place, INDEX)
