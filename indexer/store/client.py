"""One connection to Milvus, opened on first use and shared by threads: what every part of the store stands on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from indexer.store.connection import connect, translated

LONG_CALL_S = 60.0  # least time for calls that make or load a collection
_NOT_LOADED = 101  # Milvus's error code for a collection that is not loaded
_CONNECT_TIMEOUT_S = 10.0
_Found = TypeVar("_Found")


class StoreClient:
    """The server's address and the connection to it; pickles without the connection.

    Attributes:
        uri: Address of the server.
    """

    def __init__(self, uri: str, token: str | None = None, *, timeout_s: float = 10.0) -> None:
        """Store the address, and how long one call may take; nothing is opened yet."""
        self.uri = uri
        self._token = token
        self._timeout_s = timeout_s
        self._reset()

    def _reset(self) -> None:
        """Begin without a connection; parts that remember what the server said forget it here."""
        self._client: MilvusClient | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, object]:
        """Leave the connection and its lock out of a pickle."""
        return {"uri": self.uri, "_token": self._token, "_timeout_s": self._timeout_s}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Restore the address; the next call connects."""
        self.__dict__.update(state)
        self._reset()

    def client(self) -> MilvusClient:
        """Return the connected client.

        Raises:
            UnavailableError: The server cannot be reached.
        """
        with self._lock:
            if self._client is None:
                timeout_s = min(self._timeout_s, _CONNECT_TIMEOUT_S)
                self._client = connect(self.uri, token=self._token, timeout_s=timeout_s)
            return self._client

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _read(self, physical: str, ask: Callable[[MilvusClient], _Found]) -> _Found:
        """Ask a collection; one that the server has not loaded, as after its restart, is loaded first."""
        with translated(self.uri, f"read {physical}"):
            try:
                return ask(self.client())
            except MilvusException as error:
                if error.code != _NOT_LOADED:
                    raise
            self.client().load_collection(physical, timeout=max(self._timeout_s, LONG_CALL_S))
            return ask(self.client())

    def pages(
        self, physical: str, expression: str, fields: Sequence[str], *, batch: int
    ) -> Iterator[Mapping[str, object]]:
        """Yield the rows that an expression names at Strong consistency, fetched `batch` at a time."""
        pages = self._read(
            physical,
            lambda client: client.query_iterator(
                physical,
                filter=expression,
                output_fields=list(fields),
                batch_size=batch,
                consistency_level="Strong",
                timeout=self._timeout_s,
            ),
        )
        with translated(self.uri, f"scan {physical}"):
            try:
                while page := pages.next():
                    yield from page
            finally:
                pages.close()
