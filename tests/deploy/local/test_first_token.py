from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deploy.local.first_token import request_token, request_tokens
from indexer.errors import UnavailableError

TOKEN = (200, json.dumps({"usage": {"completion_tokens": 1}}))


class Api:
    """Answers POSTs with prepared answers, the last again and again."""

    def __init__(self) -> None:
        self.answers = [TOKEN]
        self.models: list[str] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/v1/chat/completions"
                assert body["max_tokens"] == 1
                api.models.append(body["model"])
                status, text = api.answers.pop(0) if len(api.answers) > 1 else api.answers[0]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def api() -> Iterator[Api]:
    running = Api()
    yield running
    running.server.shutdown()
    running.server.server_close()


def test_every_model_is_asked(api: Api) -> None:
    tokens = request_tokens(api.url, models=["base", "agronomy"], timeout_s=5)
    assert [token.model for token in tokens] == api.models == ["base", "agronomy"]
    assert all(token.milliseconds > 0 for token in tokens)


def test_an_ingress_that_is_not_ready_is_asked_again(api: Api) -> None:
    api.answers = [(503, "no server"), (404, "not found"), TOKEN]
    request_token(api.url, model="base", timeout_s=5)
    assert len(api.models) == 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((500, json.dumps({"error": {"message": "The rank is wrong."}})), r"HTTP 500: The rank is wrong\."),
        ((200, json.dumps({"usage": {"completion_tokens": 0}})), "HTTP 200"),
        ((200, "hello"), "HTTP 200: hello"),
    ],
)
def test_anything_else_than_a_token_is_said_at_once(api: Api, answer: tuple[int, str], words: str) -> None:
    api.answers = [answer]
    with pytest.raises(UnavailableError, match=f"No token came from 'agronomy': {words}"):
        request_token(api.url, model="agronomy", timeout_s=5)
    assert len(api.models) == 1


def test_asking_again_has_an_end(api: Api) -> None:
    api.answers = [(404, json.dumps({"error": {"message": "no such model"}}))]
    with pytest.raises(UnavailableError, match="no such model"):
        request_token(api.url, model="x", timeout_s=5, retry_s=0.8)
    assert len(api.models) >= 2
