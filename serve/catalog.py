"""The names clients may call, and what each of them stands for at this moment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from indexer.errors import NotFoundError
from serve.specialist import Specialist, WeightedAdapter
from train.registry.index import AdapterEntry, Canary
from train.registry.manifest import AdapterManifest
from train.registry.names import STABLE, VERSION


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
        adapters: Adapter versions by reference, 'name@3'; of those in `entries` the ones whose manifest was read.
        problems: Why a specialist or adapter version of the registry is not served, by its name or reference; only
            references have an '@'.
        entries: What the index says of every adapter, by name.
    """

    revision: int
    base_name: str
    specialists: Mapping[str, Specialist]
    adapters: Mapping[str, AdapterManifest]
    problems: Mapping[str, str] = field(default_factory=dict)
    entries: Mapping[str, AdapterEntry] = field(default_factory=dict)

    def resolve(self, model: str, *, key: str) -> Target:
        """Say what a model name stands for; `unread` says first whether a manifest is to be read for that.

        Specialists come before adapters, so that one may carry the other's name.

        Args:
            model: The request's model name: the base, a specialist, or an adapter as 'name@3', 'name@stable' or 'name'.
            key: Sticky key of the request, such as its user; equal keys take the same arm of a weighted specialist,
                and the same side of a canary.

        Raises:
            NotFoundError: No such name, a version that is retired or cannot be served, or the specialist's adapter is
                not in the catalogue and it has no fallback.
        """
        if model == self.base_name:
            return Target(kind="base", name=model, specialist=None, adapter=None)
        specialist = self.specialists.get(model)
        ref = self._ref_of(model, key=key)
        if specialist is not None:
            return self._target_of(specialist, ref)
        adapter = self.adapters.get(ref) if ref is not None else None
        if adapter is not None:
            return Target(kind="adapter", name=model, specialist=None, adapter=adapter)
        if ref is not None and self._is_retired(ref):
            raise NotFoundError(
                f"The model '{model}' is retired and served no more; GET /v1/models lists those that are."
            )
        if ref in self.problems:
            raise NotFoundError(f"The model '{model}' cannot be served; `graftwork adapters verify {ref}` says why.")
        raise NotFoundError(f"The model '{model}' does not exist; GET /v1/models lists those that do.")

    def unread(self, model: str, *, key: str) -> str | None:
        """The adapter version that a model name means and whose manifest has not been read; None where all is known.

        A name that the index does not have is known not to be there.
        """
        ref = self._ref_of(model, key=key) if model != self.base_name else None
        if ref is None or ref in self.adapters or ref in self.problems:
            return None
        return ref if self._is_live(ref) else None

    def meanings(self, ref: str) -> tuple[str, ...]:
        """The versions that a reference may mean for one user or another: of a stable one also its canary."""
        name, _, version = ref.partition("@")
        entry = self.entries.get(name)
        if entry is None or version != STABLE or entry.stable is None:
            return (ref,)
        canary = () if entry.canary is None else (f"{name}@{entry.canary.version}",)
        return (f"{name}@{entry.stable}", *canary)

    def pinned(self) -> Iterator[str]:
        """References of the versions that replicas keep loaded."""
        for name, entry in self.entries.items():
            for version in entry.pinned:
                yield f"{name}@{version}"

    def versions(self) -> Iterator[str]:
        """References of the adapter versions that may be called, by name and number, from the index alone."""
        for name in sorted(self.entries):
            for version in self.entries[name].live:
                if (ref := f"{name}@{version}") not in self.problems:
                    yield ref

    def serves(self, ref: str) -> bool:
        """Whether `versions` has a reference."""
        return ref not in self.problems and self._is_live(ref)

    def _ref_of(self, model: str, *, key: str) -> str | None:
        """The version that a name means for one request; None where it means none."""
        specialist = self.specialists.get(model)
        if specialist is None:
            return self._version_of(model if "@" in model else f"{model}@{STABLE}", key=key)
        if specialist.adapter is None:
            return None
        ref = specialist.adapter if isinstance(specialist.adapter, str) else choose_arm(specialist.adapter, key=key)
        return self._version_of(ref, key=key)

    def _version_of(self, ref: str, *, key: str) -> str:
        name, _, version = ref.partition("@")
        entry = self.entries.get(name)
        if entry is None or version != STABLE or entry.stable is None:
            return ref
        on_trial = entry.canary is not None and is_on_trial(name, entry.canary, key=key)
        return f"{name}@{entry.canary.version if on_trial and entry.canary else entry.stable}"

    def _is_live(self, ref: str) -> bool:
        entry, number = self._found(ref)
        return entry is not None and entry.serves(number)

    def _is_retired(self, ref: str) -> bool:
        entry, number = self._found(ref)
        return entry is not None and entry.has(number) and not entry.serves(number)

    def _found(self, ref: str) -> tuple[AdapterEntry | None, int]:
        name, _, version = ref.partition("@")
        return (self.entries.get(name), int(version)) if VERSION.fullmatch(version) else (None, 0)

    def _target_of(self, specialist: Specialist, ref: str | None) -> Target:
        if ref is None:
            return Target(kind="specialist", name=specialist.name, specialist=specialist, adapter=None)
        adapter = self.adapters.get(ref)
        if adapter is None and specialist.fallback == "error":
            why = "is retired" if self._is_retired(ref) else "is not served"
            raise NotFoundError(
                f"The model '{specialist.name}' needs adapter '{ref}', which {why}; "
                "publish it or apply the specialist with another."
            )
        missing = ref if adapter is None else None
        return Target(kind="specialist", name=specialist.name, specialist=specialist, adapter=adapter, missing=missing)


def choose_arm(arms: Sequence[WeightedAdapter], *, key: str) -> str:
    """Choose one arm of a weighted specialist, the same for equal keys and in proportion to the weights over many."""
    total = sum(arm.weight for arm in arms)
    point = _point(key, of=total)
    for arm in arms:
        if point < arm.weight:
            return arm.ref
        point -= arm.weight
    raise AssertionError("a point below the sum of the weights lies in one of them")


def is_on_trial(name: str, canary: Canary, *, key: str) -> bool:
    """Whether a request with this sticky key gets a canary: the same for equal keys, and for its share of all keys.

    Whoever has it at one share has it at every greater one. Other versions are tried by others: the version is part of
    what is drawn.
    """
    return _point(f"{name}@{canary.version} {key}", of=100) < canary.percent


def _point(key: str, *, of: int) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % of
