from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from deploy.local.ports import holder, is_free, pick_free, wait_until_listening
from indexer.errors import UnavailableError


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
