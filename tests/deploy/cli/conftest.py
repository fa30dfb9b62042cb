"""An OpenAI endpoint for commands that ask."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


def chunk(*, text: str | None = None, finish: str | None = None, **extra: object) -> dict[str, object]:
    choices = (
        [] if text is None and finish is None else [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]
    )
    return {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "s", "choices": choices, **extra}


class Server:
    """An OpenAI endpoint with one prepared answer; keeps the last request body.

    A question that equals `refused_question` is answered with 400.
    """

    def __init__(self) -> None:
        self.status = 200
        self.payload = ""
        self.body: dict[str, object] = {}
        self.refused_question = ""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, payload = server.answer()
                self.send_response(status)
                kind = "text/event-stream" if status == 200 else "application/json"
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(payload.encode())

            def log_message(self, format: str, *args: object) -> None:
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def answer(self) -> tuple[int, str]:
        """The prepared answer, but for the question that is refused."""
        messages = self.body["messages"]
        assert isinstance(messages, list)
        if messages[-1]["content"] == self.refused_question:
            return 400, json.dumps({"error": {"message": "That is too long.", "code": 400}})
        return self.status, self.payload

    def stream(self, *chunks: dict[str, object]) -> None:
        self.payload = "".join(f"data: {json.dumps(entry)}\n\n" for entry in chunks) + "data: [DONE]\n\n"


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()
