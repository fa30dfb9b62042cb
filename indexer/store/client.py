"""One connection to Milvus, opened on first use and shared by threads: what every part of the store stands on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Self, TypeVar

from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from indexer.store.connection import connect, translated
from indexer.store.expressions import behind_key
from indexer.store.options import DEFAULT_OPTIONS, StoreOptions
from indexer.store.retry import call_with_retry

LONG_CALL_S = 60.0  # least time for calls that make or load a collection
_NOT_LOADED = 101  # Milvus's error code for a collection that is not loaded
_CONNECT_TIMEOUT_S = 10.0
# pymilvus opens an iterator by a call without a time limit, which it makes 75 times; so many take 10 s, as others do.
_OPEN_ATTEMPTS = 8
_Found = TypeVar("_Found")


class StoreClient:
    """The server's address and the connection to it; pickles without the connection.

    Attributes:
        uri: Address of the server.
    """

    def __init__(
        self, uri: str, token: str | None = None, *, timeout_s: float = 10.0, options: StoreOptions = DEFAULT_OPTIONS
    ) -> None:
        """Store the address, how long one call may take, and how the server is asked; nothing is opened yet."""
        self.uri = uri
        self._token = token
        self._timeout_s = timeout_s
        self._options = options
        self._patient = False
        self._reset()

    def _reset(self) -> None:
        """Begin without a connection; parts that remember what the server said forget it here."""
        self._client: MilvusClient | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, object]:
        """Leave connection, lock and patience out of a pickle: workers repeat what they do as a whole."""
        return {name: getattr(self, name) for name in ("uri", "_token", "_timeout_s", "_options")}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Restore the address; the next call connects."""
        self.__dict__.update(state)
        self._patient = False
        self._reset()

    def another(self, *, patient: bool = False) -> Self:
        """Return a store of the same server with a connection of its own.

        Args:
            patient: Whether it makes calls that may be made twice again while the server does not answer, as long as
                `store.retry` says: for work that has reached the server once.
        """
        made = copy(self)
        made._patient = patient
        return made

    def client(self) -> MilvusClient:
        """Return the connected client.

        Raises:
            UnavailableError: The server cannot be reached.
        """
        with self._lock:
            if self._client is None:
                timeout_s = min(self._timeout_s, _CONNECT_TIMEOUT_S)
                self._client = connect(self.uri, token=self._token, timeout_s=timeout_s, ca_file=self._options.ca_file)
            return self._client

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _repeatable(self, action: str, ask: Callable[[MilvusClient], _Found]) -> _Found:
        """Make a call that may be made twice, such as a read or a delete by key."""

        def once() -> _Found:
            with translated(self.uri, action):
                return ask(self.client())

        return call_with_retry(once, description=action, before_retry=self.close) if self._patient else once()

    def _read(self, physical: str, ask: Callable[[MilvusClient], _Found]) -> _Found:
        """Ask a collection; one that the server has not loaded, as after its restart, is loaded first."""

        def ask_loaded(client: MilvusClient) -> _Found:
            try:
                return ask(client)
            except MilvusException as error:
                if error.code != _NOT_LOADED:
                    raise
            self._load(client, physical)
            return ask(client)

        return self._repeatable(f"read {physical}", ask_loaded)

    def _load(self, client: MilvusClient, physical: str) -> None:
        copies = {"replica_number": self._options.replicas} if self._options.replicas > 1 else {}
        client.load_collection(physical, timeout=max(self._timeout_s, LONG_CALL_S), **copies)

    def _has(self, physical: str) -> bool:
        return self._repeatable(
            f"find {physical}", lambda client: bool(client.has_collection(physical, timeout=self._timeout_s))
        )

    def pages(
        self, physical: str, expression: str, fields: Sequence[str], *, batch: int, key: str = "chunk_id"
    ) -> Iterator[Mapping[str, object]]:
        """Yield the rows that an expression names at Strong consistency, fetched `batch` at a time.

        They come in the order of their keys. After a connection was lost it goes on behind the last of them.
        """
        rows = _Rows(physical, expression, fields, batch=batch, key=key, timeout_s=self._timeout_s)
        while page := self._read(physical, rows.next_page):
            yield from page


class _Rows:
    """An iterator over rows that outlives the client it began with."""

    def __init__(
        self, physical: str, expression: str, fields: Sequence[str], *, batch: int, key: str, timeout_s: float
    ) -> None:
        self._physical = physical
        self._expression = expression
        self._fields = list(fields)
        self._batch = batch
        self._key = key
        self._timeout_s = timeout_s
        self._client: MilvusClient | None = None
        self._last = ""

    def next_page(self, client: MilvusClient) -> Sequence[Mapping[str, object]]:
        if client is not self._client:
            self._pages = client.query_iterator(
                self._physical,
                filter=behind_key(self._expression, self._key, self._last),
                output_fields=self._fields,
                batch_size=self._batch,
                consistency_level="Strong",
                timeout=self._timeout_s,
                retry_times=_OPEN_ATTEMPTS,
            )
            self._client = client
        page: Sequence[Mapping[str, object]] = self._pages.next()
        if page:
            self._last = str(page[-1][self._key])
        else:
            self._pages.close()
        return page
