"""What a replica tells the routers of itself, by Serve's `record_routing_stats`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import cast

from pydantic import JsonValue

from serve.catalog import Catalog
from train.registry.names import STABLE

# Names told at most; those beyond cost a load at the wrong replica, and the routers' news stays short.
MOST_NAMES = 512
_KEY = "graftwork"


@dataclass(frozen=True, slots=True)
class Published:
    """One replica's news.

    Attributes:
        beat: Grows with everything told, so that a router can tell news from what it knows.
        models: Names that it answers without loading an adapter.
        plain: Names that no adapter answers for, at any replica.
        queue: Requests that it works on or that wait.
        capacity: Requests that it takes before it refuses some.
        ready: Whether it has all that it should have.
    """

    beat: int
    models: frozenset[str] = frozenset()
    plain: frozenset[str] = frozenset()
    queue: int = 0
    capacity: int = 1
    ready: bool = True

    def as_stats(self) -> dict[str, JsonValue]:
        """What `record_routing_stats` returns."""
        told: dict[str, JsonValue] = {
            "beat": self.beat,
            "models": cast("list[JsonValue]", sorted(self.models)[:MOST_NAMES]),
            "plain": cast("list[JsonValue]", sorted(self.plain)[:MOST_NAMES]),
            "queue": self.queue,
            "capacity": self.capacity,
            "ready": self.ready,
        }
        return {_KEY: told}


def read_stats(stats: Mapping[str, JsonValue]) -> Published | None:
    """The news in a replica's routing stats; None where there is none, as before it has told anything."""
    told = stats.get(_KEY)
    if not isinstance(told, dict):
        return None
    return Published(
        beat=cast("int", told["beat"]),
        models=frozenset(cast("list[str]", told["models"])),
        plain=frozenset(cast("list[str]", told["plain"])),
        queue=cast("int", told["queue"]),
        capacity=cast("int", told["capacity"]),
        ready=cast("bool", told["ready"]),
    )


def names_of(catalog: Catalog, resident: Collection[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Which names resident adapters answer for, and which names no adapter answers for.

    Args:
        catalog: The names of this moment.
        resident: Engine names of resident adapters, such as 'agronomy@3'.
    """
    held = set(resident)
    models = {ref for ref in held if catalog.serves(ref)}
    for ref in tuple(models):
        name = ref.partition("@")[0]
        if ref in catalog.meanings(f"{name}@{STABLE}"):
            models |= {name, f"{name}@{STABLE}"}
    plain = {catalog.base_name}
    for name, specialist in catalog.specialists.items():
        if not specialist.adapter_refs:
            plain.add(name)
        elif any(meaning in held for ref in specialist.adapter_refs for meaning in catalog.meanings(ref)):
            models.add(name)
        else:
            models.discard(name)  # an adapter's own name, taken by a specialist
    return frozenset(models), frozenset(plain)
