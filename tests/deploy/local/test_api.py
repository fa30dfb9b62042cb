from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deploy.local.api import KEY_VARIABLE, key_header, served_revision, wait_for_revision


class App(ThreadingHTTPServer):
    """Answers /readyz with a revision that goes up with every answer, once it is ready."""

    revision = 0
    ready = True


class Handler(BaseHTTPRequestHandler):
    server: App

    def do_GET(self) -> None:
        self.server.revision += 1
        body = json.dumps({"status": "ready", "revision": self.server.revision}).encode()
        self.send_response(200 if self.server.ready else 503)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def app() -> Iterator[App]:
    server = App(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def url_of(app: App) -> str:
    return f"http://127.0.0.1:{app.server_port}"


def test_it_waits_until_the_revision_or_a_later_one_is_served(app: App) -> None:
    assert wait_for_revision(url_of(app), 3, limit_s=5)
    assert app.revision == 3
    assert wait_for_revision(url_of(app), 2, limit_s=5)


def test_it_gives_up_in_time(app: App) -> None:
    app.ready = False
    begun = time.monotonic()
    assert not wait_for_revision(url_of(app), 1, limit_s=0.3)
    assert time.monotonic() - begun < 3


def test_nobody_there_serves_nothing() -> None:
    assert served_revision("http://127.0.0.1:1") is None


def test_the_operators_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert key_header() == {"Authorization": "Bearer none"}
    monkeypatch.setenv(KEY_VARIABLE, "gw-1-x")
    assert key_header() == {"Authorization": "Bearer gw-1-x"}
