"""Collections in Milvus: generations behind aliases, and what each records about itself."""

from __future__ import annotations

import time

from pymilvus.exceptions import MilvusException

from indexer.errors import ConflictError, InputError, NotFoundError
from indexer.names import check_alias, physical_name
from indexer.store.client import LONG_CALL_S, StoreClient
from indexer.store.connection import translated
from indexer.store.generation import check_embedder, read_generation
from indexer.store.schema import PARTITIONS, collection_indexes, collection_properties, collection_schema
from indexer.types import Generation

_NOT_FOUND = 100  # Milvus's error code for an unknown collection or alias
_DESCRIBED_FOR_S = 10.0  # a generation's embedder never changes; the limit covers one dropped and made anew


class Collections(StoreClient):
    """Finds, makes and swaps generations.

    Limits: one writer per collection; generations beyond the first are made by a later command.
    """

    def _reset(self) -> None:
        super()._reset()
        self._generations: dict[str, tuple[float, Generation]] = {}

    def locate(self, collection: str) -> Generation:
        """Return the generation behind an alias: one call, so that a swapped alias is seen by the next search.

        Raises:
            NotFoundError: No alias of that name.
        """
        physical = self.resolve(check_alias(collection))
        if physical is None:
            raise NotFoundError(
                f"Collection {collection!r} does not exist at {self.uri}; "
                f"index documents into it first (graftwork index PATH --collection {collection})."
            )
        return self._generation(collection, physical)

    def resolve(self, alias: str) -> str | None:
        """Return the physical collection behind an alias, or None."""
        try:
            with translated(self.uri, "describe alias"):
                return str(self.client().describe_alias(alias, timeout=self._timeout_s)["collection_name"])
        except MilvusException as error:
            if _is_not_found(error):
                return None
            raise

    def unfinished_or_current(self, alias: str) -> Generation | None:
        """Return the generation to write into, behind the alias or left by an interrupted first run, or None."""
        physical = self.resolve(check_alias(alias))
        if physical is None:
            physical = physical_name(alias, 1)
            with translated(self.uri, "find collection"):
                if not self.client().has_collection(physical, timeout=self._timeout_s):
                    return None
        return self._generation(alias, physical)

    def ensure_generation(self, alias: str, *, embedder: str, dimension: int) -> Generation:
        """Return the generation to write into: the one behind the alias, else the first, made where it is missing.

        A first generation without an alias is what an interrupted first run leaves; it is taken up again.

        Raises:
            InputError: The collection was made by another embedder; both are named.
            ConflictError: A collection that Graftwork did not make has the alias's name.
        """
        physical = self.resolve(check_alias(alias))
        if physical is None:
            physical = physical_name(alias, 1)
            client = self.client()
            with translated(self.uri, "create collection"):
                if client.has_collection(alias, timeout=self._timeout_s):
                    raise ConflictError(
                        f"Milvus at {self.uri} has a collection {alias!r} that is not an alias; rename it."
                    )
                if not client.has_collection(physical, timeout=self._timeout_s):
                    self._create(physical, embedder=embedder, dimension=dimension)
        self._generations.pop(physical, None)
        made = self._generation(alias, physical)
        check_embedder(made, embedder=embedder)
        if made.dimension != dimension:
            raise InputError(
                f"Collection {alias!r} has {made.dimension} dimensions, embedder {embedder} makes {dimension}."
            )
        return made

    def point_alias(self, alias: str, physical: str) -> None:
        """Make `alias` name `physical`, which readers see at once."""
        with translated(self.uri, "set alias"):
            current = self.resolve(alias)
            if current is None:
                self.client().create_alias(physical, alias, timeout=self._timeout_s)
            elif current != physical:
                self.client().alter_alias(physical, alias, timeout=self._timeout_s)

    def _create(self, physical: str, *, embedder: str, dimension: int) -> None:
        try:
            self.client().create_collection(
                physical,
                schema=collection_schema(dimension=dimension, embedder=embedder),
                index_params=collection_indexes(),
                num_partitions=PARTITIONS,
                properties=collection_properties(dimension=dimension, embedder=embedder),
                timeout=max(self._timeout_s, LONG_CALL_S),
            )
        except MilvusException as error:
            if "already exist" not in str(error.message):  # another process was quicker; what it made is checked next
                raise

    def _generation(self, alias: str, physical: str) -> Generation:
        known = self._generations.get(physical)
        if known is not None and time.monotonic() - known[0] < _DESCRIBED_FOR_S and known[1].alias == alias:
            return known[1]
        with translated(self.uri, f"describe {physical}"):
            details = self.client().describe_collection(physical, timeout=self._timeout_s)
        made = read_generation(details, alias=alias, physical=physical)
        if made is None:
            raise ConflictError(
                f"Collection {physical!r} at {self.uri} does not record its embedder, so Graftwork did not make it; "
                "choose another collection name."
            )
        self._generations[physical] = (time.monotonic(), made)
        return made


def _is_not_found(error: MilvusException) -> bool:
    text = str(error.message).lower()
    return error.code == _NOT_FOUND or "not found" in text or "not exist" in text
