"""Which generation a run writes into: decided from what is there and what the settings make. Plain functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from indexer.errors import ConflictError
from indexer.store.generation import identity_differences
from indexer.types import Generation, Identity


@dataclass(frozen=True, slots=True)
class Target:
    """Where a run writes.

    Attributes:
        number: Number of the generation.
        live: The generation that readers see, or None before the first run is complete.
        because: What differs between the live generation and the settings; empty when the live one is written in place.
        begun: Whether the generation is there already, from an interrupted build or an earlier time.
    """

    number: int
    live: Generation | None
    because: tuple[str, ...]
    begun: bool

    @property
    def in_place(self) -> bool:
        """Whether readers see every change at once."""
        return self.live is not None and self.number == self.live.number


def choose_target(
    generations: Sequence[Generation], *, live: str | None, alias: str, wanted: Identity, allow_new: bool
) -> Target:
    """Return the generation to write into: the live one, one that was begun with these settings, or the next.

    Args:
        generations: Those of the collection.
        live: Physical name of the one that readers see, or None.
        alias: Name of the collection.
        wanted: What the settings make.
        allow_new: Whether anything but the live one may be written.

    Raises:
        ConflictError: The alias names a collection that Graftwork did not make; or another generation would be needed
            and is not allowed, or readers were taken back from it.
    """
    seen = next((made for made in generations if made.physical == live), None)
    if live is not None and seen is None:
        raise ConflictError(
            f"The alias {alias!r} names the collection {live!r}, which Graftwork did not make; choose another name."
        )
    because = identity_differences(seen.identity, wanted) if seen is not None else ()
    if seen is not None and not because:
        return Target(number=seen.number, live=seen, because=(), begun=True)
    if seen is not None and not allow_new:
        raise ConflictError(
            f"Generation {seen.number} of {alias!r} has another identity ({'; '.join(because)}); set these settings "
            "back, or leave out --no-new-generation."
        )
    begun = [made for made in generations if made is not seen and not identity_differences(made.identity, wanted)]
    if not begun:
        number = 1 + max((made.number for made in generations), default=0)
        return Target(number=number, live=seen, because=because, begun=False)
    last = max(begun, key=lambda made: made.number)
    if last.rolled_back:
        raise ConflictError(
            f"Readers of {alias!r} were taken back from generation {last.number}, which has the identity of these "
            f"settings ({'; '.join(because)}); set the settings back, or remove it (graftwork collections prune "
            f"{alias} --keep 0) to build it anew."
        )
    return Target(number=last.number, live=seen, because=because, begun=True)
