"""A small HTTP server in the place of an app and of its Ray's dashboard, in the state that a test puts it in."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

APP_NAME = "graftwork"


@dataclass
class SmallApp:
    """What the server answers, and which models it was asked for."""

    url: str
    serve_status: str = "RUNNING"
    ready_status: int = 200
    ready_code: str = "unavailable"
    chat_status: int = 200
    chat_delay_s: float = 0.0
    asked: list[str] = field(default_factory=list)

    def get(self, path: str) -> tuple[int, object]:
        """Status and document for a path of the API or of the dashboard."""
        if path == "/api/serve/applications/":
            return 200, {"applications": {APP_NAME: {"status": self.serve_status, "deployments": {}}}}
        assert path == "/readyz"
        if self.ready_status != 200:
            return self.ready_status, {"error": {"code": self.ready_code}}
        return 200, {"status": "ready", "revision": 1}

    def chat(self, model: str) -> tuple[int, object]:
        """A token, or the error of an engine that has died."""
        self.asked.append(model)
        time.sleep(self.chat_delay_s)
        if self.chat_status == 200:
            return 200, {"usage": {"completion_tokens": 1}}
        return self.chat_status, {"error": {"message": "EngineCore encountered an issue."}}


@contextmanager
def small_app() -> Iterator[SmallApp]:
    """Serve on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(*app.get(self.path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(*app.chat(body["model"]))

        def answer(self, status: int, document: object) -> None:
            try:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())
            except BrokenPipeError:
                return  # The client has given up, as some tests want it.

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    app = SmallApp(url=f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield app
    server.shutdown()
    server.server_close()
