from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import JsonValue

from deploy.local.serve_client import AppStatus, ServeClient, cause_of, parse_app
from indexer.errors import GraftworkError, UnavailableError

REPLICA: dict[str, JsonValue] = {"replica_id": "r", "state": "RUNNING", "pid": 7}


def details(status: str, message: str = "", replicas: JsonValue = None) -> dict[str, JsonValue]:
    deployment: dict[str, JsonValue] = {
        "status": "UPDATING",
        "message": "",
        "target_num_replicas": 2,
        "replicas": replicas or [],
    }
    return {
        "applications": {"graftwork": {"status": status, "message": message, "deployments": {"Engine": deployment}}}
    }


class Dashboard:
    """A dashboard that gives prepared answers, the last again and again, and records what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []
        self.asked: list[tuple[str, str, str]] = []
        dashboard = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length).decode()
                dashboard.asked.append((self.command, self.headers.get("Authorization") or "", body))
                status, text = dashboard.answers.pop(0) if len(dashboard.answers) > 1 else dashboard.answers[0]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_PUT = do_DELETE = _answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    running = Dashboard()
    yield running
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def client(dashboard: Dashboard, tmp_path: Path) -> ServeClient:
    (tmp_path / "token").write_text("secret\n")
    return ServeClient(dashboard.url, token_path=tmp_path / "token")


def test_requests_carry_the_token(dashboard: Dashboard, client: ServeClient) -> None:
    dashboard.answers = [(200, "")]
    client.deploy({"applications": []})
    assert dashboard.asked == [("PUT", "Bearer secret", '{"applications":[]}')]


def test_a_refused_config_names_its_cause(dashboard: Dashboard, client: ServeClient) -> None:
    dashboard.answers = [(400, "Traceback:\n  File x\nValueError: no such thing\n")]
    with pytest.raises(UnavailableError, match=r"HTTP 400\): ValueError: no such thing"):
        client.deploy({})


def test_waiting_tells_each_change_once(dashboard: Dashboard, client: ServeClient) -> None:
    half = json.dumps(details("DEPLOYING", replicas=[REPLICA]))
    done = json.dumps(details("RUNNING", replicas=[REPLICA, REPLICA]))
    dashboard.answers = [(200, json.dumps(details("DEPLOYING"))), (200, half), (200, half), (200, done)]
    told: list[AppStatus] = []
    app = client.wait_until_running(timeout_s=20, progress=told.append)
    assert [status.summary() for status in told] == ["Engine 0/2", "Engine 1/2", "Engine 2/2"]
    assert app.deployments[0].pids == (7, 7)


def test_a_failed_deployment_names_its_cause(dashboard: Dashboard, client: ServeClient) -> None:
    message = "Deploying failed:\nTraceback:\n  x\nindexer.errors.InputError: The rank is wrong.\nmore"
    dashboard.answers = [(200, json.dumps(details("DEPLOY_FAILED", message)))]
    with pytest.raises(GraftworkError, match=r"could not be deployed: .*InputError: The rank is wrong\."):
        client.wait_until_running(timeout_s=20, progress=lambda _: None)


def test_waiting_has_an_end(dashboard: Dashboard, client: ServeClient) -> None:
    dashboard.answers = [(200, json.dumps(details("DEPLOYING", "Waiting for resources")))]
    with pytest.raises(UnavailableError, match=r"does not run after 0 s \(Engine 0/2\): Waiting for resources"):
        client.wait_until_running(timeout_s=0, progress=lambda _: None)


def test_a_dead_dashboard(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")
    client = ServeClient("http://127.0.0.1:9", token_path=tmp_path / "token")
    with pytest.raises(UnavailableError, match="does not answer"):
        client.app()
    with pytest.raises(UnavailableError, match="is not ready after"):
        client.wait_until_ready(timeout_s=0.1)
    assert client.shut_down({}, timeout_s=1) is False


def test_serve_is_shut_down_once_the_app_is_gone(dashboard: Dashboard, client: ServeClient) -> None:
    deleting, gone = json.dumps(details("DELETING")), json.dumps({"applications": {}})
    dashboard.answers = [(200, ""), (200, deleting), (200, deleting), (200, gone), (200, "")]
    assert client.shut_down({"http_options": {"port": 1}, "applications": [{"name": "graftwork"}]}, timeout_s=20)
    assert [method for method, _, _ in dashboard.asked] == ["PUT", "GET", "GET", "GET", "DELETE"]
    assert json.loads(dashboard.asked[0][2]) == {"http_options": {"port": 1}, "applications": []}


def test_serve_is_shut_down_although_the_app_stays(dashboard: Dashboard, client: ServeClient) -> None:
    dashboard.answers = [(200, json.dumps(details("DELETING")))]
    client.shut_down({}, timeout_s=0.1)
    assert dashboard.asked[-1][0] == "DELETE"


def test_an_app_that_serve_does_not_know() -> None:
    assert parse_app({"applications": {}}).status == "NOT_STARTED"
    with pytest.raises(ValueError, match="no applications"):
        parse_app({})


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("ValueError: a\n  at x\nray.exceptions.RayTaskError: b: c\nend", "ray.exceptions.RayTaskError: b: c"),
        (
            "  File x\nRuntimeError: No config: 1 error\n  Value error, 9 is over 8 [type=x]\n"
            "    For further information",
            "RuntimeError: No config: 1 error Value error, 9 is over 8",
        ),
        ("only this", "only this"),
        ("", ""),
        ("The error: was here\nlast", "last"),
    ],
)
def test_the_cause_is_the_last_line_that_names_an_error(message: str, cause: str) -> None:
    assert cause_of(message) == cause
