"""Reaching Milvus: one quick probe, and errors that name the server instead of a gRPC trace."""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import grpc
from pymilvus import MilvusClient
from pymilvus.exceptions import ConnectError, ErrorCode, MilvusException, MilvusUnavailableException, ParamError
from pymilvus.grpc_gen import common_pb2

from indexer.errors import GraftworkError, InputError, UnavailableError

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
# A server says who may not do what by gRPC's codes, before it looks at the call, or by codes of a status of its own.
_NO_ACCESS = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})
_NO_ACCESS_CODES = frozenset({1400, 1401})  # not authenticated, privilege not permitted
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


def connect(uri: str, *, token: str | None, timeout_s: float, ca_file: Path | None = None) -> MilvusClient:
    """Return a client with a connection of its own.

    Args:
        uri: Address of the server.
        token: API key or user:password, or None.
        timeout_s: Seconds that connecting may take.
        ca_file: Certificates (PEM) by which a server at https:// is known; None trusts the public authorities.

    Raises:
        InputError: The URI is not a server's, or there are no certificates in the file.
        UnavailableError: The server cannot be reached or refuses the token.
    """
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs a traceback for each error that it also raises
    probe(uri)
    options = {**_RECONNECT_OPTIONS, **(_LOOPBACK_OPTIONS if server_address(uri)[0] in _LOOPBACK else {})}
    known_by = {"server_pem_path": str(_readable_certificates(ca_file))} if ca_file is not None else {}
    with translated(uri, "connect"):
        return MilvusClient(
            uri=uri, token=token or "", timeout=timeout_s, dedicated=True, grpc_options=options, **known_by
        )


def _readable_certificates(path: Path) -> Path:
    """Return the path of a file with certificates.

    Raises:
        InputError: It cannot be read, or has none; gRPC would only say that it cannot connect.
    """
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = "it has no certificate" if isinstance(error, ssl.SSLError) else error
        raise InputError(f"indexer.milvus_ca_file {path} cannot be used ({reason}); name a PEM file.") from error
    return path


@contextmanager
def translated(uri: str, action: str) -> Iterator[None]:
    """Turn a refused token, a lost connection, a busy server and a full disk into UnavailableError.

    Other errors of Milvus pass, with a note for `refusal_of`.
    """
    try:
        yield
    except (ConnectError, MilvusUnavailableException) as error:
        raise UnavailableError(_gone(uri, action, str(error.message))) from error
    except MilvusException as error:
        if is_no_access(error):
            raise UnavailableError(_no_access(uri, action, str(error.message))) from error
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
        if not hasattr(error, "__notes__"):
            error.add_note(f"Milvus at {uri} refuses what is asked of it ({action}")
        raise
    except grpc.RpcError as error:
        if is_no_access(error):
            raise UnavailableError(_no_access(uri, action, str(error.details()))) from error
        code = error.code() if hasattr(error, "code") else type(error).__name__
        raise UnavailableError(_gone(uri, action, str(code))) from error


def refusal_of(error: MilvusException) -> GraftworkError:
    """Return the sentence for an error of Milvus that nothing nearer to it explains."""
    refused = (getattr(error, "__notes__", None) or ["Milvus refuses what is asked of it (no action told"])[0]
    return GraftworkError(
        f"{refused}: {_first_line(str(error.message))}, code {error.code}); look at the server's log, then run the "
        "same command again."
    )


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


def is_no_access(error: BaseException | None) -> bool:
    """Tell whether a server refuses who asks, whatever is asked; pymilvus gives the reason as an error's cause."""
    while error is not None:
        if isinstance(error, grpc.RpcError) and hasattr(error, "code") and error.code() in _NO_ACCESS:
            return True
        if isinstance(error, MilvusException) and error.code in _NO_ACCESS | _NO_ACCESS_CODES:
            return True
        error = error.__cause__ if error.__cause__ is not error else None
    return False


def _is_connection_loss(error: MilvusException) -> bool:
    text = str(error.message).lower()
    return "unavailable" in text or "retry" in text or "deadline" in text or "fail connecting" in text


def _gone(uri: str, action: str, reason: str) -> str:
    return f"Milvus at {uri} did not answer ({action}: {_first_line(reason)}); check the server and milvus_token."


def _no_access(uri: str, action: str, reason: str) -> str:
    return (
        f"Milvus at {uri} refuses the token ({action}: {_first_line(reason)}); set indexer.milvus_token to an API key "
        "or user:password that may do this there."
    )


def _first_line(reason: str) -> str:
    return reason.splitlines()[0][:200] if reason else "no reason given"
