from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from deploy.local.ports import holder, in_url, is_free, pick_free, wait_until_listening
from indexer.errors import InputError, UnavailableError


def test_a_listening_port_is_taken_even_where_it_would_share() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert not is_free(port)
        assert not is_free(port, host="0.0.0.0")
        assert f"pid {os.getpid()} " in holder(port)
    assert is_free(port)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "::"])
def test_an_ipv6_port_is_free_until_something_listens(host: str) -> None:
    with socket.socket(socket.AF_INET6) as server:
        server.bind((host, 0))
        port = server.getsockname()[1]
        server.listen()
        assert not is_free(port, host=host)
    assert is_free(port, host=host)


@needs_ipv6
def test_an_ipv4_server_takes_the_port_of_one_that_listens_everywhere_but_not_of_ipv6_loopback() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert not is_free(port, host="::")
        assert is_free(port, host="::1")


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_of_another_machine_is_no_taken_port(host: str) -> None:
    with pytest.raises(InputError, match=f"No server can listen at {host} on this machine: .*; set serve.host"):
        is_free(8000, host=host)


@pytest.mark.parametrize(
    ("host", "named"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]"), ("box", "box")],
)
def test_a_host_in_a_url(host: str, named: str) -> None:
    assert in_url(host) == named


def test_chosen_ports_differ_and_are_free() -> None:
    ports = pick_free(20)
    assert len(set(ports)) == 20
    assert all(is_free(port) for port in ports)
    assert not set(pick_free(20, taken=ports)) & set(ports)


def test_waiting_ends_when_the_server_listens() -> None:
    [port] = pick_free(1)
    server = socket.socket()

    def listen_later() -> None:
        time.sleep(0.3)
        server.bind(("127.0.0.1", port))
        server.listen()

    thread = threading.Thread(target=listen_later)
    thread.start()
    wait_until_listening(port, host="127.0.0.1", timeout_s=10, what="It", still_running=lambda: True)
    thread.join()
    server.close()


def test_waiting_ends_with_the_process() -> None:
    [port] = pick_free(1)
    with pytest.raises(UnavailableError, match=f"It ended before it listened on port {port}"):
        wait_until_listening(port, host="127.0.0.1", timeout_s=10, what="It", still_running=lambda: False)


def test_waiting_has_an_end() -> None:
    [port] = pick_free(1)
    with pytest.raises(UnavailableError, match=r"within 0\.2 s"):
        wait_until_listening(port, host="127.0.0.1", timeout_s=0.2, what="It", still_running=lambda: True)
