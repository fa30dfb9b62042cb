"""A replica's view of the key file: read at the start, and again when it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from indexer.errors import UnavailableError, system_cause
from serve.following import keep_looking
from serve.keys.document import document_of, parse_keys
from serve.keys.keyring import Keyring
from serve.principal import Principal

logger = logging.getLogger("graftwork.serve")


def _now() -> datetime:
    return datetime.now(UTC)


class FollowedKeys:
    """Checks tokens against the newest usable version of the key file.

    What happens to the file after the start:

    - A new version with keys, or with an empty list of them, holds from the next look on.
    - A broken or unreadable version changes nothing: the last good keys hold, and one error is logged.
    - A file that is removed, or has no content, refuses every token: who takes the keys away wants nobody let in.
    """

    def __init__(self, path: Path, *, interval_s: float, now: Callable[[], datetime] = _now) -> None:
        """Read the file once; blocks for the read.

        Args:
            path: The key file.
            interval_s: Seconds between two looks at it.
            now: The clock that keys expire by.

        Raises:
            InputError: The file is broken.
            UnavailableError: The file is missing or may not be read.
        """
        self._path = path
        self._interval_s = interval_s
        self._now = now
        content = self._read()
        if content is None:
            raise UnavailableError(
                f"The key file {path} that serve.keys.file names does not exist; make a first key with "
                "`graftwork keys create`, or mount the secret there."
            )
        self._content: bytes | None = content
        self._keyring = Keyring(parse_keys(content, source=self._source))
        self._tell()

    @property
    def keyring(self) -> Keyring:
        """The keys that hold at this moment."""
        return self._keyring

    def check(self, token: str) -> Principal | None:
        """Say whom a token stands for; None where it is no valid key. Neither blocks nor reads the file."""
        return self._keyring.check(token, now=self._now())

    async def follow(self) -> None:
        """Keep the keys up to date until cancelled."""
        await keep_looking(
            lambda: asyncio.to_thread(self._look), interval_s=self._interval_s, failed=self._tell_failure
        )

    def _look(self) -> None:
        """Take up a changed file. The whole content is compared: time and size do not show every change."""
        content = self._read()
        if content == self._content:
            return
        if content is None or not content.strip():
            self._content, self._keyring = content, Keyring(document_of())
            state = "is gone" if content is None else "is empty"
            logger.error("The key file %s %s; every request is refused until there are keys.", self._path, state)
            return
        keyring = Keyring(parse_keys(content, source=self._source))
        self._content, self._keyring = content, keyring
        self._tell()

    def _read(self) -> bytes | None:
        """The file's content, or None where it does not exist.

        A missing file is looked for twice: Kubernetes moves the link to a secret's new folder first and removes the old
        folder then, so a path that was resolved between the two fails once.
        """
        for _ in range(2):
            try:
                return self._path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise UnavailableError(
                    f"The key file {self._path} cannot be read ({system_cause(error)}); let the app's user read it."
                ) from error
        return None

    @property
    def _source(self) -> str:
        return f"The key file {self._path}"

    def _tell(self) -> None:
        logger.info("%d API keys of %d tenants", len(self._keyring), len(self._keyring.tenants))
        if not self._keyring:
            logger.warning("The key file %s holds no key; every request is refused.", self._path)

    def _tell_failure(self, cause: str) -> None:
        logger.error("%s The keys read before still hold.", cause)
