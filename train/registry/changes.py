"""What each verb makes of an adapter's entry in the index. Pure: nothing is read or written here.

Every function takes the entry as it is, checks that the change makes sense, and returns the entry as it will be with
what changed in words, for the event. A change to what is so already returns the entry itself, unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from indexer.errors import ConflictError, InputError, NotFoundError
from train.registry.index import FORMER_KEPT, AdapterEntry, Canary


@dataclass(frozen=True, slots=True)
class Change:
    """A change of an entry.

    Attributes:
        entry: The entry as it will be.
        before: What it was before, for the event.
        after: What it is then.
    """

    entry: AdapterEntry
    before: str | None
    after: str | None


def add_version(entry: AdapterEntry | None, version: int, *, make_stable: bool) -> AdapterEntry:
    """Add a published version; the first one of an adapter is stable in any case."""
    entry = entry or AdapterEntry(versions=())
    grown = entry.model_copy(update={"versions": tuple(sorted({*entry.versions, version}))})
    return _with_stable(grown, version) if make_stable or entry.stable is None else grown


def promote(name: str, entry: AdapterEntry, version: int) -> Change:
    """Let name@stable mean a version; the one before is remembered, a canary of the version ends.

    Raises:
        NotFoundError: There is no such version, or it is retired.
    """
    _check_live(name, entry, version)
    return Change(_with_stable(entry, version), _text(entry.stable), str(version))


def rollback(name: str, entry: AdapterEntry) -> Change:
    """Let name@stable mean the version that was stable before.

    Raises:
        NotFoundError: There was none.
        ConflictError: It is retired.
    """
    if not entry.former:
        raise NotFoundError(
            f"The adapter {name} has no former stable version to go back to; `graftwork adapters promote` takes any."
        )
    version = entry.former[-1]
    if version in entry.retired:
        raise ConflictError(
            f"The former stable version {name}@{version} is retired and served no more; promote another version."
        )
    back = entry.model_copy(update={"stable": version, "former": entry.former[:-1]})
    return Change(_without_canary(back, of=version), _text(entry.stable), str(version))


def set_canary(name: str, entry: AdapterEntry, version: int, *, percent: int) -> Change:
    """Let name@stable mean a version for a share of the users; 0 ends it.

    Raises:
        NotFoundError: There is no such version, it is retired, or there is no canary of it to end.
        InputError: The share is no percentage, or the version is the stable one.
        ConflictError: Another version is on trial.
    """
    if not 0 <= percent <= 100:
        raise InputError(f"{percent} is no share in percent; give 1 to 100, or 0 to end the canary.")
    _check_known(name, entry, version)
    running = entry.canary
    if percent == 0:
        if running is None or running.version != version:
            raise NotFoundError(f"There is no canary of {name}@{version} to end{_instead(name, running)}.")
        return Change(entry.model_copy(update={"canary": None}), _share(running), None)
    _check_live(name, entry, version)
    if entry.stable is None or version == entry.stable:
        raise InputError(f"{name}@{version} is the stable version of {name}; a canary is another one.")
    if running is not None and running.version != version:
        raise ConflictError(
            f"The canary of {name} is {name}@{running.version} at {running.percent} percent; promote it or end it "
            "by --percent 0 first."
        )
    canary = Canary(version=version, percent=percent)
    return Change(entry.model_copy(update={"canary": canary}), _share(running), _share(canary))


def pin(name: str, entry: AdapterEntry, version: int) -> Change:
    """Let replicas keep a version loaded.

    Raises:
        NotFoundError: There is no such version, or it is retired.
    """
    _check_live(name, entry, version)
    pinned = tuple(sorted({*entry.pinned, version}))
    return Change(entry.model_copy(update={"pinned": pinned}), None, f"{version} pinned")


def unpin(name: str, entry: AdapterEntry, version: int) -> Change:
    """Let replicas load and unload a version as it is used.

    Raises:
        NotFoundError: It is not pinned.
    """
    if version not in entry.pinned:
        pinned = ", ".join(f"{name}@{number}" for number in entry.pinned) or "none"
        raise NotFoundError(f"{name}@{version} is not pinned; pinned are: {pinned}.")
    left = tuple(number for number in entry.pinned if number != version)
    return Change(entry.model_copy(update={"pinned": left}), f"{version} pinned", None)


def retire(name: str, entry: AdapterEntry, version: int, *, named_by: Mapping[str, tuple[str, ...]]) -> Change:
    """Serve a version no more; its files stay, and a pin of it ends.

    Args:
        name: The adapter.
        entry: Its entry.
        version: The version.
        named_by: References that each specialist names.

    Raises:
        NotFoundError: There is no such version, or it is retired already.
        ConflictError: It is stable, the canary, or a specialist names it.
    """
    _check_live(name, entry, version)
    if entry.stable == version:
        raise ConflictError(f"{name}@{version} is the stable version of {name}; promote another one first.")
    if entry.canary is not None and entry.canary.version == version:
        raise ConflictError(f"{name}@{version} is the canary of {name}; end it by --percent 0 first.")
    users = sorted(specialist for specialist, refs in named_by.items() if f"{name}@{version}" in refs)
    if users:
        raise ConflictError(
            f"{name}@{version} is named by the specialist{'s' if len(users) > 1 else ''} {', '.join(users)}; "
            "apply them with another version first."
        )
    return Change(without_pin(entry, version, retired=True), "live", f"{version} retired")


def without_pin(entry: AdapterEntry, version: int, *, retired: bool) -> AdapterEntry:
    """The entry where a version is not pinned, and retired if that is asked for."""
    return entry.model_copy(
        update={
            "pinned": tuple(number for number in entry.pinned if number != version),
            "retired": tuple(sorted({*entry.retired, version})) if retired else entry.retired,
        }
    )


def unknown_version(name: str, entry: AdapterEntry | None, version: int, *, where: object) -> NotFoundError:
    """The error for a version that is not published."""
    known = ", ".join(_few(entry.versions)) if entry is not None and entry.versions else "none"
    return NotFoundError(f"There is no version {version} of the adapter {name!r} in {where}; published: {known}.")


_SHOWN = 10


def _few(versions: tuple[int, ...]) -> list[str]:
    if len(versions) <= 2 * _SHOWN:
        return [str(version) for version in versions]
    return [str(versions[0]), "...", *(str(version) for version in versions[-_SHOWN:])]


def _check_known(name: str, entry: AdapterEntry, version: int) -> None:
    if version not in entry.versions:
        raise unknown_version(name, entry, version, where="this registry")


def _check_live(name: str, entry: AdapterEntry, version: int) -> None:
    _check_known(name, entry, version)
    if version in entry.retired:
        raise NotFoundError(f"{name}@{version} is retired and served no more; publish its files as a new version.")


def _with_stable(entry: AdapterEntry, version: int) -> AdapterEntry:
    if entry.stable == version:
        return _without_canary(entry, of=version)
    former = entry.former if entry.stable is None else (*entry.former, entry.stable)[-FORMER_KEPT:]
    return _without_canary(entry.model_copy(update={"stable": version, "former": former}), of=version)


def _without_canary(entry: AdapterEntry, *, of: int) -> AdapterEntry:
    if entry.canary is None or entry.canary.version != of:
        return entry
    return entry.model_copy(update={"canary": None})


def _instead(name: str, canary: Canary | None) -> str:
    return "" if canary is None else f"; the canary is {name}@{canary.version}"


def _share(canary: Canary | None) -> str | None:
    return None if canary is None else f"{canary.version} at {canary.percent}%"


def _text(version: int | None) -> str | None:
    return None if version is None else str(version)
