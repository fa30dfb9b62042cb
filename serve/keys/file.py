"""The key file on disk, for who makes and revokes keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from indexer.errors import InputError, NotFoundError, UnavailableError, system_cause, writing
from serve.keys.document import (
    KeyEntry,
    KeyLimits,
    KeysDocument,
    document_of,
    parse_keys,
    problem_of,
    write_keys,
)
from serve.keys.secret import Token, hash_secret, new_token, without_secrets
from train.registry.files import exclusive, replace_file

_OWNER_ONLY = 0o600
_OTHERS = 0o077


class KeyFile:
    """Reads and changes a key file; several commands at once each find the other's keys.

    A Kubernetes secret is made from this very file:

        kubectl create secret generic graftwork-keys --from-file=keys.json --dry-run=client -o yaml | kubectl apply -f -
    """

    def __init__(self, path: Path) -> None:
        """Name the file; a link is followed, so that a change replaces what it points to."""
        self.path = path
        self._target = Path(os.path.realpath(path))

    def read(self) -> KeysDocument:
        """The document; one without keys where there is no file yet.

        Raises:
            InputError: The file is broken.
            UnavailableError: It may not be read.
        """
        try:
            document = self._target.read_bytes()
        except FileNotFoundError:
            return document_of()
        except OSError as error:
            raise UnavailableError(
                f"The key file {self.path} cannot be read ({system_cause(error)}); let this user read it."
            ) from error
        return parse_keys(document, source=f"The key file {self.path}")

    def create(
        self,
        *,
        tenant: str,
        now: datetime,
        expires_at: datetime | None = None,
        note: str | None = None,
        models: tuple[str, ...] | None = None,
        collections: tuple[str, ...] | None = None,
        limits: KeyLimits | None = None,
        max_passages: int | None = None,
        admin: bool = False,
    ) -> tuple[Token, KeyEntry]:
        """Make a key and keep its hash.

        Args:
            tenant: Whose documents it may see.
            now: The time, with its zone.
            expires_at: When it stops being accepted; None is never.
            note: What it is for.
            models: Model names it may call; None is all.
            collections: Collections that specialists may answer from; None is all.
            limits: What it may take; None is no limits.
            max_passages: Passages that a request may ask for; 0 lets it change nothing of a retrieval, None is any.
            admin: Whether it may change what the registry serves.

        Returns:
            The token, which is kept nowhere, and the entry in the file.

        Raises:
            ConflictError: Another command holds the file.
            InputError: A value does not fit, or the file is broken.
            UnavailableError: The file cannot be read or written.
        """
        with self._changing():
            document = self.read()
            token = new_token(taken={entry.id for entry in document.keys})
            try:
                entry = KeyEntry(
                    id=token.key_id,
                    tenant=tenant,
                    sha256=hash_secret(token.secret).hex(),
                    created_at=now,
                    expires_at=expires_at,
                    note=note,
                    models=models,
                    collections=collections,
                    limits=limits or KeyLimits(),
                    max_passages=max_passages,
                    admin=admin,
                )
            except ValidationError as error:
                raise InputError(f"The key cannot be made: {problem_of(error)}.") from error
            self._write((*document.keys, entry))
        return token, entry

    def revoke(self, key_id: str) -> KeyEntry:
        """Take a key out of the file.

        Raises:
            ConflictError: Another command holds the file.
            InputError: The file is broken.
            NotFoundError: There is no such key.
            UnavailableError: The file cannot be read or written.
        """
        if not self._target.exists():
            raise NotFoundError(f"There is no key file {self.path}, so there is nothing to revoke.")
        with self._changing():
            document = self.read()
            found = next((entry for entry in document.keys if entry.id == key_id), None)
            if found is None:
                raise NotFoundError(
                    f"There is no key {without_secrets(repr(key_id))} in {self.path}; give the id alone, as "
                    "`graftwork keys list` shows it."
                )
            self._write(tuple(entry for entry in document.keys if entry is not found))
        return found

    def foreign_mode(self) -> str | None:
        """The file's mode in octal where other users may read or write it, else None."""
        try:
            mode = self._target.stat().st_mode & 0o777
        except OSError:
            return None
        return f"{mode:04o}" if mode & _OTHERS else None

    @contextmanager
    def _changing(self) -> Iterator[None]:
        lock = self._target.with_name(f".{self._target.name}.lock")
        with writing("The key file", self.path, otherwise="name another file by `serve.keys.file`"):
            self._target.parent.mkdir(parents=True, exist_ok=True)
            with exclusive(lock):
                yield

    def _write(self, keys: tuple[KeyEntry, ...]) -> None:
        replace_file(self._target, write_keys(document_of(*keys)), mode=_OWNER_ONLY)
