"""Waiting for changes in folders."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from watchfiles import Change, watch

from indexer.errors import InputError, UnavailableError
from indexer.sources.uris import LocalPlace, parse_place

_QUIET_MS = 500  # changes that follow each other closely are one, such as a save by way of a temporary file
_LONGEST_MS = 10_000  # where it never gets quiet
_ALIVE_MS = 500  # how often the watching thread sees whether it shall end


class Changes:
    """Says that something changed since it was last asked."""

    def __init__(self) -> None:
        """Nothing changed yet."""
        self._changed = threading.Event()
        self._ended: str | None = None

    def tell(self) -> None:
        """Take note of a change."""
        self._changed.set()

    def end(self, reason: str) -> None:
        """Take note that no more changes will be told; who waits learns of it."""
        self._ended = reason
        self._changed.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for a change, or for a time; what changed before and was not asked for counts. False: time is up.

        Raises:
            UnavailableError: The folders are not followed any more.
        """
        changed = self._changed.wait(timeout_s)
        self._changed.clear()
        self.check()
        return changed

    def check(self) -> None:
        """See that changes are told.

        Raises:
            UnavailableError: The folders are not followed any more.
        """
        if self._ended is not None:
            raise UnavailableError(
                f"The folders cannot be followed ({self._ended}); see that they are there and that the system's limit "
                "of watches (fs.inotify.max_user_watches) is not reached, or set WATCHFILES_FORCE_POLLING=1."
            )


def watched_folders(given: Sequence[str | Path]) -> tuple[Path, ...]:
    """Return the folders whose changes are to be seen for these sources: patterns are followed from their folder.

    Raises:
        InputError: A source is no folder of this machine.
    """
    folders: dict[Path, None] = {}
    for name in given:
        place = parse_place(name, azure_account="any")
        if not isinstance(place, LocalPlace) or not place.path.is_dir():
            raise InputError(f"{name} cannot be watched; give folders of this machine, and files by --include.")
        folders[place.path.resolve()] = None
    if not folders:
        raise InputError("No folder to watch was given.")
    return tuple(folders)


@contextmanager
def following(folders: Sequence[Path]) -> Iterator[Changes]:
    """Yield what tells of changes below folders, from now on; hidden entries do not count.

    Where the system tells of no changes, as on many network file systems, WATCHFILES_FORCE_POLLING=1 makes it look.

    Raises:
        UnavailableError: The system does not let them be followed.
    """
    changes, ready, stop = Changes(), threading.Event(), threading.Event()
    thread = threading.Thread(target=_follow, args=(folders, changes, ready, stop), name="changes", daemon=True)
    thread.start()
    ready.wait()
    try:
        changes.check()
        yield changes
    finally:
        stop.set()
        thread.join()


def _follow(folders: Sequence[Path], changes: Changes, ready: threading.Event, stop: threading.Event) -> None:
    def is_shown(_: Change, path: str) -> bool:
        return any(
            not any(part.startswith(".") for part in Path(path).relative_to(folder).parts)
            for folder in folders
            if Path(path).is_relative_to(folder)
        )

    try:
        for changed in watch(
            *folders,
            watch_filter=is_shown,
            step=_QUIET_MS,
            debounce=_LONGEST_MS,
            rust_timeout=_ALIVE_MS,
            yield_on_timeout=True,
            stop_event=stop,
            raise_interrupt=False,
        ):
            ready.set()
            if changed:
                changes.tell()
        if not stop.is_set():
            changes.end("the system tells of no more changes")
    except Exception as error:  # noqa: BLE001  whatever it is, who waits for a change has to hear of it
        changes.end(" ".join(str(error).split()) or type(error).__name__)
    finally:
        ready.set()
