"""The errors every part of Graftwork raises for a user to read, and the exit codes scripts can rely on."""

from __future__ import annotations

from typing import ClassVar


class GraftworkError(Exception):
    """Something failed; the text is one sentence that says what, with the value, and what to do."""

    exit_code: ClassVar[int] = 1


class InputError(GraftworkError):
    """What the user gave cannot be used: an argument, a file's content, a settings key."""

    exit_code: ClassVar[int] = 2


class PartialError(GraftworkError):
    """The work is done, but some of its items failed and were left out."""

    exit_code: ClassVar[int] = 3


class UnavailableError(GraftworkError):
    """Something that the work needs is not running, not reachable or too small."""

    exit_code: ClassVar[int] = 4


class ConflictError(GraftworkError):
    """The work collides with something that exists: a running instance, a port, a version, another writer."""

    exit_code: ClassVar[int] = 5


class NotFoundError(GraftworkError):
    """A name that the user gave is not known: a specialist, an adapter, a collection, a file."""

    exit_code: ClassVar[int] = 6
