"""TCP ports of this machine: whether one is free, who has it, waiting for one to answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable

import psutil

from indexer.errors import UnavailableError

_POLL_S = 0.1


def is_free(port: int, *, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on the port, here and on all interfaces.

    The bind is tried without SO_REUSEPORT: gRPC servers set it, so a second one would start and share the connections.
    """
    for address in {host, "0.0.0.0"}:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


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
