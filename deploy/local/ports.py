"""TCP ports of this machine: whether one is free, who has it, waiting for one to answer."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterable

import psutil

from indexer.errors import InputError, UnavailableError, system_cause

_POLL_S = 0.1
# Ports below 1024 are refused to most users, which is as good as taken.
_TAKEN = frozenset({errno.EADDRINUSE, errno.EACCES})
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


def is_free(port: int, *, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on the port, here and on all interfaces of the host's address family.

    The bind is tried without SO_REUSEPORT: gRPC servers set it, so a second one would start and share the connections.

    Raises:
        InputError: This machine has no such address.
    """
    family, everywhere = (socket.AF_INET6, "::") if ":" in host else (socket.AF_INET, "0.0.0.0")
    for address in {host, everywhere}:
        try:
            _bind(port, address=address, family=family, v6_only=host != "::")
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            raise InputError(
                f"No server can listen at {address} on this machine: {system_cause(error)}; set serve.host to one of "
                "its addresses, such as 127.0.0.1."
            ) from error
    return True


def _bind(port: int, *, address: str, family: socket.AddressFamily, v6_only: bool) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # A server at `::` listens for IPv4 too.
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6_only))
        probe.bind((address, port))


def in_url(host: str) -> str:
    """How a URL of this machine names the host that a server listens at."""
    if host in _EVERYWHERE:
        return _EVERYWHERE[host]
    return f"[{host}]" if ":" in host else host


def pick_free(count: int, *, taken: Iterable[int] = ()) -> list[int]:
    """Different free ports, none of them in `taken`; all held at once while choosing, so that none comes twice."""
    avoided = set(taken)
    probes: list[socket.socket] = []
    ports: list[int] = []
    try:
        while len(ports) < count:
            probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            probes.append(probe)
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            if port not in avoided:
                ports.append(port)
    finally:
        for probe in probes:
            probe.close()
    return ports


def holder(port: int) -> str:
    """Who listens on a port, as "pid 123 (name)"; "another process" where that cannot be seen."""
    for connection in psutil.net_connections(kind="tcp"):
        if (
            connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr.port == port
            and connection.pid
        ):
            try:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
            except psutil.NoSuchProcess:
                break
    return "another process"


def wait_until_listening(
    port: int, *, host: str, timeout_s: float, what: str, still_running: Callable[[], bool]
) -> None:
    """Returns once a TCP connection succeeds.

    Raises:
        UnavailableError: The process ended or the time is over.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not still_running():
            raise UnavailableError(f"{what} ended before it listened on port {port}.")
        try:
            with socket.create_connection((host, port), timeout=1.0):
                return
        except OSError:
            time.sleep(_POLL_S)
    raise UnavailableError(f"{what} did not listen on port {port} within {timeout_s:g} s.")
