"""A Milvus 2.3.5 server on this machine: PyPI's `milvus`, from an environment of its own (its pins are not ours).

It has no BM25 and no sparse vectors, but what milvus-lite lacks: import, users, real segments.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_START_S = 60.0
_ETCD_PORT = 2380  # of the etcd inside the server; it cannot be told another


@contextmanager
def running_milvus(port: int, data: Path) -> Iterator[str]:
    """Start a server on a port, yield its URI; skips the test where there is none to start."""
    program = shutil.which("milvus-server")
    if program is None:
        pytest.skip("milvus-server is not on the PATH; CONTRIBUTING.md tells how to install it")
    with socket.socket() as trial:
        if trial.connect_ex(("127.0.0.1", _ETCD_PORT)) == 0:
            pytest.skip(f"port {_ETCD_PORT}, which the server's own etcd needs, is taken")
    data.mkdir()
    log = data / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "--data", str(data / "data"), "--proxy-port", str(port)],
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    uri = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _START_S
        while b"Welcome" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield uri
    finally:
        process.send_signal(signal.SIGINT)  # it forwards no other signal to the server
        process.wait(timeout=30)
