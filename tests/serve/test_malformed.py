"""What is wrong with a request is the client's fault, said in one shape, and the next request works."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.serve.malformed import CHAT, MALFORMED, Malformed
from tests.stack import Stack

pytestmark = pytest.mark.stack
GOOD = {"model": "base", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}


def is_fine(response: httpx.Response) -> bool:
    """An answer, a refusal of ours, one of HAProxy's of what is no HTTP, or a 503 that says when to come back."""
    if response.status_code == 200:
        return True
    if response.status_code >= 500:
        return response.status_code == 503 and "retry-after" in response.headers
    if "json" not in response.headers.get("content-type", ""):
        return response.status_code == 400 and len(response.content) < 1_000
    error = response.json()["error"]
    return isinstance(error["code"], str) and isinstance(error["message"], str) and "request_id" in error


@pytest.mark.parametrize("request_", MALFORMED, ids=lambda request: request.name)
def test_it_is_refused_in_openais_shape_or_answered(stack: Stack, request_: Malformed) -> None:
    headers = {"content-type": "application/json", **request_.headers}
    with stack.http as client:
        response = client.request(request_.method, request_.path, content=request_.body, headers=headers, timeout=20)
    assert is_fine(response), (response.status_code, response.text[:500])
    assert not any(inside in response.text for inside in ("Traceback", "site-packages", "/root", '.py"'))


def test_after_all_of_them_a_good_request_works(stack: Stack) -> None:
    assert stack.http.post(CHAT, json=GOOD).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n{",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n{}",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
    ],
    ids=["blank lines", "no http", "half a body", "a negative length", "a broken chunk"],
)
def test_what_is_no_http_ends_with_its_connection(stack: Stack, sent: bytes) -> None:
    parts = urlsplit(stack.url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        head = connection.recv(4096).split(b"\r\n", 1)[0]
    assert head == b"" or head.split(b" ")[1] in (b"400", b"408", b"501", b"505"), head
    assert stack.http.post(CHAT, json=GOOD).status_code == 200
