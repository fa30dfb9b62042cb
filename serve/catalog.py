"""The names clients may call, and what each of them stands for at this moment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from indexer.errors import NotFoundError
from serve.specialist import Specialist, WeightedAdapter
from train.registry.manifest import AdapterManifest


@dataclass(frozen=True, slots=True)
class Target:
    """What a model name resolves to for one request.

    Attributes:
        kind: What the name named.
        name: The name as called.
        specialist: The specialist, where the name is one.
        adapter: The adapter version to generate with, if any.
        missing: The adapter that should generate and is not in the catalogue, where the base may answer in its place.
    """

    kind: Literal["base", "specialist", "adapter", "embedder"]
    name: str
    specialist: Specialist | None
    adapter: AdapterManifest | None
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class Catalog:
    """One revision of the registry, in memory.

    Attributes:
        revision: Revision of the registry's index.
        base_name: Name of the base model alone.
        specialists: Specialists by name.
        adapters: Adapter versions by reference, 'name@3' and 'name@stable'.
        problems: Why a specialist or adapter version of the registry is not served, by its name or reference; only
            references have an '@'.
    """

    revision: int
    base_name: str
    specialists: Mapping[str, Specialist]
    adapters: Mapping[str, AdapterManifest]
    problems: Mapping[str, str] = field(default_factory=dict)

    def resolve(self, model: str, *, key: str) -> Target:
        """Say what a model name stands for.

        Specialists come before adapters, so that one may carry the other's name.

        Args:
            model: The request's model name: the base, a specialist, or an adapter as 'name@3', 'name@stable' or 'name'.
            key: Sticky key of the request, such as its user; equal keys take the same arm of a weighted specialist.

        Raises:
            NotFoundError: No such name, or the specialist's adapter is not in the catalogue and it has no fallback.
        """
        if model == self.base_name:
            return Target(kind="base", name=model, specialist=None, adapter=None)
        specialist = self.specialists.get(model)
        if specialist is not None:
            return self._target_of(specialist, key=key)
        adapter = self.adapters.get(model if "@" in model else f"{model}@stable")
        if adapter is not None:
            return Target(kind="adapter", name=model, specialist=None, adapter=adapter)
        raise NotFoundError(f"The model '{model}' does not exist; GET /v1/models lists those that do.")

    def _target_of(self, specialist: Specialist, *, key: str) -> Target:
        if specialist.adapter is None:
            return Target(kind="specialist", name=specialist.name, specialist=specialist, adapter=None)
        ref = specialist.adapter if isinstance(specialist.adapter, str) else choose_arm(specialist.adapter, key=key)
        adapter = self.adapters.get(ref)
        if adapter is None and specialist.fallback == "error":
            raise NotFoundError(
                f"The model '{specialist.name}' needs adapter '{ref}', which is not served; "
                "publish it or apply the specialist with another."
            )
        missing = ref if adapter is None else None
        return Target(kind="specialist", name=specialist.name, specialist=specialist, adapter=adapter, missing=missing)


def choose_arm(arms: Sequence[WeightedAdapter], *, key: str) -> str:
    """Choose one arm of a weighted specialist, the same for equal keys and in proportion to the weights over many."""
    total = sum(arm.weight for arm in arms)
    point = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % total
    for arm in arms:
        if point < arm.weight:
            return arm.ref
        point -= arm.weight
    raise AssertionError("a point below the sum of the weights lies in one of them")
