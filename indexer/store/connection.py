"""Reaching Milvus: one quick probe, and errors that name the server instead of a gRPC trace."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import grpc
from pymilvus import MilvusClient
from pymilvus.exceptions import ConnectError, ErrorCode, MilvusException, MilvusUnavailableException, ParamError
from pymilvus.grpc_gen import common_pb2

from indexer.errors import InputError, UnavailableError

PROBE_TIMEOUT_S = 3.0
# gRPC waits longer after each failed attempt to connect, up to two minutes, and channels to one address share that
# wait: without these a server that was away for long is found minutes after it is back.
_RECONNECT_OPTIONS = {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.min_reconnect_backoff_ms": 1_000,
    "grpc.max_reconnect_backoff_ms": 2_000,
}
# pymilvus pings idle connections every 10 s; milvus-lite, with gRPC's default of one per 5 min, hangs up on that.
# Nothing between two processes of one machine forgets a connection, so there it is left alone.
_LOOPBACK_OPTIONS = {"grpc.keepalive_permit_without_calls": False, "grpc.keepalive_time_ms": 60_000}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DEFAULT_PORTS = {"http": 19530, "tcp": 19530, "https": 443}
# Codes of a status since Milvus 2.3 (pkg/util/merr); where a server gives no other, of the older list in common.proto.
_BUSY = frozenset({ErrorCode.RATE_LIMIT, ErrorCode.FORCE_DENY})
_BUSY_OLD = frozenset({common_pb2.RateLimit, common_pb2.ForceDeny})
_PARAMETER = frozenset({1100, 1102})  # invalid, too large
_PARAMETER_OLD = frozenset({common_pb2.IllegalArgument, 6})  # milvus-lite calls an illegal argument 6
_TOO_LARGE = "larger than max"  # of gRPC, for a message
# What a server says of its own disk; milvus-lite passes on the system's words, with a code that means nothing.
_DISK = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS))


class RefusedError(InputError):
    """Milvus refuses rows for what is in them; it would refuse them again."""


def server_address(uri: str) -> tuple[str, int]:
    """Return host and port of a Milvus URI.

    Raises:
        InputError: Not a server's URI; a milvus-lite file cannot be shared by Ray's workers.
    """
    parts = urlsplit(uri)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise InputError(f"milvus_uri {uri!r} is not a server's address; give http://HOST:PORT or https://HOST.")
    try:
        port = parts.port
    except ValueError as error:
        raise InputError(f"milvus_uri {uri!r} has no usable port: {error}.") from error
    return parts.hostname, port or _DEFAULT_PORTS[parts.scheme]


def probe(uri: str, *, timeout_s: float = PROBE_TIMEOUT_S) -> None:
    """Open and close one TCP connection to the server.

    Done before the first client: a pymilvus client made before the port listens stays broken in its process.

    Raises:
        UnavailableError: Nothing answers within `timeout_s`.
    """
    address = server_address(uri)
    try:
        socket.create_connection(address, timeout=timeout_s).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnavailableError(f"Milvus at {uri} cannot be reached ({reason}); start it or set milvus_uri.") from error


def connect(uri: str, *, token: str | None, timeout_s: float) -> MilvusClient:
    """Return a client with a connection of its own.

    Raises:
        InputError: The URI is not a server's.
        UnavailableError: The server cannot be reached or refuses the token.
    """
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs a traceback for each error that it also raises
    probe(uri)
    options = {**_RECONNECT_OPTIONS, **(_LOOPBACK_OPTIONS if server_address(uri)[0] in _LOOPBACK else {})}
    with translated(uri, "connect"):
        return MilvusClient(uri=uri, token=token or "", timeout=timeout_s, dedicated=True, grpc_options=options)


@contextmanager
def translated(uri: str, action: str) -> Iterator[None]:
    """Turn a lost connection, a busy server and a full disk into UnavailableError; other errors pass unchanged."""
    try:
        yield
    except (ConnectError, MilvusUnavailableException) as error:
        raise UnavailableError(_gone(uri, action, str(error.message))) from error
    except MilvusException as error:
        if _is_connection_loss(error):
            raise UnavailableError(_gone(uri, action, str(error.message))) from error
        if is_busy(error):
            reason = _first_line(str(error.message))
            raise UnavailableError(
                f"Milvus at {uri} takes no more for now ({action}: {reason}); wait, or raise its quotas and limits."
            ) from error
        if cause := next((cause for cause in _DISK if cause in str(error.message)), None):
            raise UnavailableError(
                f"Milvus at {uri} cannot write to its disk ({action}: {cause}); make room there and run it again."
            ) from error
        raise
    except grpc.RpcError as error:
        code = error.code() if hasattr(error, "code") else type(error).__name__
        raise UnavailableError(_gone(uri, action, str(code))) from error


@contextmanager
def refusals(uri: str, action: str) -> Iterator[None]:
    """Turn the refusal of rows for their content into RefusedError; everything else passes unchanged."""
    try:
        yield
    except (MilvusException, grpc.RpcError) as error:
        if not concerns_rows(error):
            raise
        reason = str(error.message) if isinstance(error, MilvusException) else str(error.details())
        raise RefusedError(f"Milvus at {uri} refuses it ({action}: {_first_line(reason)}).") from error


def concerns_rows(error: MilvusException | grpc.RpcError) -> bool:
    """Tell whether an error of a write is about what is in the rows, not about the collection or the server."""
    if isinstance(error, MilvusException):
        listed = error.code in _PARAMETER or error.compatible_code in _PARAMETER_OLD
        return listed or isinstance(error, ParamError)
    return hasattr(error, "details") and _TOO_LARGE in str(error.details())


def is_busy(error: MilvusException) -> bool:
    """Tell whether a server refuses for now what it may take later: above a rate or a quota, or not ready."""
    return error.retriable or error.code in _BUSY or error.compatible_code in _BUSY_OLD


def _is_connection_loss(error: MilvusException) -> bool:
    text = str(error.message).lower()
    return "unavailable" in text or "retry" in text or "deadline" in text or "fail connecting" in text


def _gone(uri: str, action: str, reason: str) -> str:
    return f"Milvus at {uri} did not answer ({action}: {_first_line(reason)}); check the server and milvus_token."


def _first_line(reason: str) -> str:
    return reason.splitlines()[0][:200] if reason else "no reason given"
