"""Collections in Milvus: generations behind aliases, and what each records about itself."""

from __future__ import annotations

import time

from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from indexer.errors import ConflictError, InputError, NotFoundError
from indexer.names import check_alias, physical_name, split_physical
from indexer.store.client import LONG_CALL_S, StoreClient
from indexer.store.connection import translated
from indexer.store.generation import check_embedder, read_generation
from indexer.store.schema import (
    INDEXED_FIELDS,
    PARTITIONS,
    SCHEMA_VERSION,
    collection_indexes,
    collection_properties,
    collection_schema,
)
from indexer.types import Generation, Identity

_NOT_FOUND = 100  # Milvus's error code for an unknown collection or alias
_DESCRIBED_FOR_S = 10.0  # a generation's embedder never changes; the limit covers one dropped and made anew


class Collections(StoreClient):
    """Finds, makes, swaps and drops generations."""

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
        return self._repeatable("describe alias", lambda client: self._named(client, alias))

    def generations(self, alias: str) -> tuple[Generation, ...]:
        """Return the generations of a collection that Graftwork made, the oldest first, also those not complete."""
        names = self._repeatable("list collections", self._names)
        found = [self._described(alias, name) for name in names if (split_physical(name) or ("", 0))[0] == alias]
        return tuple(sorted((made for made in found if made is not None), key=lambda made: made.number))

    def aliases(self) -> list[str]:
        """Return the names of all collections, also of those whose first run is not complete."""
        names = [split_physical(name) for name in self._repeatable("list collections", self._names)]
        return sorted({parts[0] for parts in names if parts is not None})

    def ensure_generation(
        self,
        alias: str,
        *,
        embedder: str,
        dimension: int,
        chunker: str = "",
        parsers: tuple[str, ...] = (),
        number: int = 1,
    ) -> Generation:
        """Return a generation to write into, made where it is missing; readers do not see it until it has the alias.

        Raises:
            InputError: It is there and was made by another embedder; both are named.
            ConflictError: A collection that Graftwork did not make has the alias's name.
        """
        physical = physical_name(check_alias(alias), number)
        if self.resolve(alias) is None and self._has(alias):
            raise ConflictError(f"Milvus at {self.uri} has a collection {alias!r} that is not an alias; rename it.")
        if not self._has(physical):
            identity = Identity(
                embedder=embedder, dimension=dimension, chunker=chunker, parsers=parsers, schema=SCHEMA_VERSION
            )
            self._repeatable("create collection", lambda client: self._create(client, physical, identity))
        self._generations.pop(physical, None)
        made = self._generation(alias, physical)
        check_embedder(made, embedder=embedder)
        self._repeatable(f"complete {physical}", lambda client: self._complete(client, physical))
        if made.dimension != dimension:
            raise InputError(
                f"Collection {alias!r} has {made.dimension} dimensions, embedder {embedder} makes {dimension}."
            )
        return made

    def record(self, physical: str, properties: dict[str, str]) -> None:
        """Write properties of a generation; one that is empty counts as not there."""
        self._repeatable(
            f"record properties of {physical}",
            lambda client: client.alter_collection_properties(physical, properties=properties, timeout=self._timeout_s),
        )
        self._generations.pop(physical, None)

    def drop_generation(self, physical: str) -> None:
        """Delete a generation with all its rows; the caller has seen to it that nobody reads or writes it."""
        with translated(self.uri, f"drop {physical}"):
            self.client().drop_collection(physical, timeout=max(self._timeout_s, LONG_CALL_S))
        self._generations.pop(physical, None)

    def point_alias(self, alias: str, physical: str) -> None:
        """Make `alias` name `physical`, which readers see at once."""

        def point(client: MilvusClient) -> None:
            current = self._named(client, alias)
            if current is None:
                client.create_alias(physical, alias, timeout=self._timeout_s)
            elif current != physical:
                client.alter_alias(physical, alias, timeout=self._timeout_s)

        self._repeatable("set alias", point)

    def drop_alias(self, alias: str) -> None:
        """Take an alias away; what it named stays."""
        with translated(self.uri, f"drop alias {alias}"):
            self.client().drop_alias(alias, timeout=self._timeout_s)

    def _names(self, client: MilvusClient) -> list[str]:
        return [str(name) for name in client.list_collections(timeout=self._timeout_s)]

    def _named(self, client: MilvusClient, alias: str) -> str | None:
        try:
            with translated(self.uri, "describe alias"):
                return str(client.describe_alias(alias, timeout=self._timeout_s)["collection_name"])
        except MilvusException as error:
            if _is_not_found(error):
                return None
            raise

    def _create(self, client: MilvusClient, physical: str, identity: Identity) -> None:
        try:
            client.create_collection(
                physical,
                schema=collection_schema(identity),
                num_partitions=PARTITIONS,
                properties=collection_properties(identity),
                timeout=max(self._timeout_s, LONG_CALL_S),
            )
        except MilvusException as error:
            if "already exist" not in str(error.message):  # another process was quicker; what it made is checked next
                raise

    def _complete(self, client: MilvusClient, physical: str) -> None:
        """Make a collection's indexes where it lacks them, and load it; a process that died may have left any of it."""
        lacking = [name for name in INDEXED_FIELDS if not client.list_indexes(physical, field_name=name)]
        if lacking:
            indexes = collection_indexes(lacking, options=self._options)
            client.create_index(physical, indexes, timeout=max(self._timeout_s, LONG_CALL_S))
        self._load(client, physical)

    def _generation(self, alias: str, physical: str) -> Generation:
        known = self._generations.get(physical)
        if known is not None and time.monotonic() - known[0] < _DESCRIBED_FOR_S and known[1].alias == alias:
            return known[1]
        made = self._described(alias, physical)
        if made is None:
            raise ConflictError(
                f"Collection {physical!r} at {self.uri} does not record its embedder, so Graftwork did not make it; "
                "choose another collection name."
            )
        self._generations[physical] = (time.monotonic(), made)
        return made

    def _described(self, alias: str, physical: str) -> Generation | None:
        details = self._repeatable(
            f"describe {physical}", lambda client: client.describe_collection(physical, timeout=self._timeout_s)
        )
        return read_generation(details, alias=alias, physical=physical)


def _is_not_found(error: MilvusException) -> bool:
    text = str(error.message).lower()
    return error.code == _NOT_FOUND or "not found" in text or "not exist" in text
