"""A real S3 server on this machine: moto's `moto_server`, from an environment of its own (its pins are not ours)."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

_START_S = 60.0
_AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=owner/20260101/us-east-1/s3/aws4_request"  # looked at, not checked


@dataclass(frozen=True)
class S3Server:
    """A running server.

    Attributes:
        address: Host and port.
        client: What the test itself speaks to it by.
    """

    address: str
    client: httpx.Client

    @property
    def query(self) -> str:
        """What a URI says to reach this server."""
        return f"?endpoint_override={self.address}&scheme=http"

    def start_with(self, bucket: str) -> None:
        """Forget everything and make an empty bucket."""
        self._send("POST", "moto-api/reset")
        self._send("PUT", bucket)

    def put(self, bucket: str, key: str, content: bytes | str, *, acl: str = "private") -> None:
        data = content.encode() if isinstance(content, str) else content
        self._send("PUT", f"{bucket}/{quote(key)}", content=data, headers={"x-amz-acl": acl})

    def delete(self, bucket: str, key: str) -> None:
        self._send("DELETE", f"{bucket}/{quote(key)}")

    @contextmanager
    def checking_credentials(self) -> Iterator[None]:
        """From here on only known keys are let in, and none is known."""
        self._send("POST", "moto-api/reset-auth", content=b"0")
        try:
            yield
        finally:
            self._send("POST", "moto-api/reset-auth", content=b"inf")

    def _send(self, method: str, path: str, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        signed = {"Content-Type": "application/octet-stream", "Authorization": _AUTHORIZATION, **(headers or {})}
        self.client.request(method, f"/{path}", content=content, headers=signed).raise_for_status()


@contextmanager
def running_s3(port: int, log: Path) -> Iterator[S3Server]:
    """Start a server on the loopback address; skips the test where there is none to start."""
    program = shutil.which("moto_server")
    if program is None:
        pytest.skip("moto_server is not on the PATH; CONTRIBUTING.md tells how to install it")
    with log.open("wb") as output:
        process = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=output, stderr=output)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)
    try:
        deadline = time.monotonic() + _START_S
        while True:
            try:
                client.get("/moto-api/")
                break
            except httpx.TransportError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield S3Server(f"127.0.0.1:{port}", client)
    finally:
        client.close()
        process.terminate()
        process.wait(timeout=20)
