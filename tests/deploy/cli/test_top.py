from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.cli.top import table_of
from deploy.local.traffic import ModelTraffic, Traffic
from tests.deploy.local.test_traffic import TEXT

BUSY = ModelTraffic("agronomy", 12.34, 0.5, 0.0421, 1.5, 987.6, 0.75)
IDLE = ModelTraffic("base", 0.0, 0.0, None, None, 0.0, None)


def shown(found: Traffic) -> list[list[str]]:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table_of(found))
    return [line.split() for line in console.export_text().splitlines() if line.strip()]


def test_the_table_has_the_load_above_and_a_row_for_each_model() -> None:
    title, head, busy, idle = shown(Traffic(2.0, 3, 4, 1.25, (BUSY, IDLE)))
    assert title == ["running", "3", "waiting", "4", "shed", "1.2/s"]
    assert head == ["model", "requests/s", "errors/s", "first", "token", "p50", "p95", "tokens/s", "cached"]
    assert busy == ["agronomy", "12.3", "0.5", "42", "ms", "1500", "ms", "987.6", "75%"]
    assert idle == ["base", "0.0", "0.0", "-", "-", "0.0", "-"]


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """An instance whose metrics grow by 20 requests and 2 errors between two looks; the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            looks = len(asked)
            text = TEXT.format(ok=10 * looks, bad=2 * looks, prompt=100 * looks, cached=50 * looks)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/metrics"
    monkeypatch.setattr("deploy.local.runtime.running_instance", lambda _: SimpleNamespace(urls={"metrics": url}))
    yield asked
    server.shutdown()
    server.server_close()


def test_json_tells_what_happened_between_two_looks(metrics: list[str]) -> None:
    done = CliRunner().invoke(app, ["top", "--json", "--interval", "0.1"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    (model,) = found["models"]
    assert metrics == ["/metrics"] * 2
    assert (found["running"], model["model"], model["cached_share"]) == (3, "base", 0.5)
    assert model["requests_per_s"] == pytest.approx(12 / found["seconds"], rel=0.1)
    assert model["errors_per_s"] == pytest.approx(2 / found["seconds"], rel=0.1)


def test_once_prints_the_table_and_ends(metrics: list[str]) -> None:
    done = CliRunner().invoke(app, ["top", "--once", "--interval", "0.1"])
    assert done.exit_code == 0, done.output
    assert "running 3" in done.stdout
    assert "base" in done.stdout
    assert len(metrics) == 2


def test_where_nothing_is_up_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.local.runtime.running_instance", lambda _: None)
    done = CliRunner().invoke(app, ["top", "--once"])
    assert "run `graftwork up`" in str(done.exception) + done.output
    assert done.exit_code != 0
