"""The errors every part of Graftwork raises for a user to read, and the exit codes scripts can rely on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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


def from_system(error: OSError) -> UnavailableError:
    """Our error for one of the operating system's that nothing nearer to it explains: its path and its cause."""
    if error.filename is None:
        return UnavailableError(
            f"The system refuses what is asked of it: {system_cause(error)}; see that the disks have room and that "
            "the servers named in the settings run."
        )
    return UnavailableError(
        f"The system refuses {error.filename}: {system_cause(error)}; see that its disk has room and that this user "
        "may read and write there."
    )


def system_cause(error: OSError) -> str:
    """The cause alone, such as `No space left on device`."""
    return error.strerror or " ".join(str(error).split()) or type(error).__name__


@contextmanager
def writing(what: str, path: Path, *, otherwise: str) -> Iterator[None]:
    """Explains an OSError of the block, which writes something at a path.

    Args:
        what: What is written, at the beginning of a sentence.
        path: Where; the error's own path is named instead where it has one.
        otherwise: What to do if neither space nor rights can be had.

    Raises:
        UnavailableError: It cannot be written; path and cause are named.
    """
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"{what} cannot be written at {error.filename or path}: {system_cause(error)}; make room there or let this "
            f"user write there, or {otherwise}."
        ) from error
