"""`down` as a real command, with a process that stands for the instance and a dashboard that does not end draining."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.local.app_config import APP_NAME
from deploy.local.processes import MARK, start_ticks
from deploy.local.state import InstanceState, ServerProcess, write_state
from tests.home import HEARING, Home

# As the demo calls it: inside its own clean-up.
NESTED = """
import sys
from pathlib import Path
from deploy.local.interrupts import ending_signals_raise, uninterrupted
from deploy.local.shutdown import down
from deploy.settings import load_settings
with ending_signals_raise(), uninterrupted():
    print(down(load_settings(config=Path(sys.argv[1])).settings, progress=lambda _: None).graceful)
"""


class DrainingDashboard:
    """Has an app that goes on draining until it is let go."""

    def __init__(self) -> None:
        self.asked, self.released = threading.Event(), threading.Event()
        dashboard = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                dashboard.asked.set()
                self._answer({})

            def do_GET(self) -> None:
                draining = {} if dashboard.released.is_set() else {APP_NAME: {"status": "DELETING"}}
                self._answer({"applications": draining})

            def do_DELETE(self) -> None:
                self._answer({})

            def _answer(self, content: object) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def dashboard() -> Iterator[DrainingDashboard]:
    running = DrainingDashboard()
    yield running
    running.released.set()
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def up_home(bare_home: Home, up_state: InstanceState, dashboard: DrainingDashboard) -> Iterator[Home]:
    """A home whose state says that an instance is up; its only server sleeps."""
    process = subprocess.Popen(["sleep", "300"], env={**os.environ, MARK: up_state.instance}, start_new_session=True)
    server = ServerProcess("raylet", process.pid, start_ticks(process.pid) or 0)
    state = replace(up_state, urls={"dashboard": dashboard.url}, processes=(server,))
    write_state(bare_home.folder / "run" / "state.json", state)
    yield bare_home
    process.kill()
    process.wait()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_draining_and_nothing_is_left(
    up_home: Home, dashboard: DrainingDashboard, number: signal.Signals, code: int
) -> None:
    command = up_home.start("down")
    assert dashboard.asked.wait(60)
    assert up_home.processes
    command.send_signal(number)
    _, stderr = command.communicate(timeout=20)
    assert command.returncode == code, stderr
    assert "every process was ended" in stderr
    assert "Traceback" not in stderr
    up_home.assert_nothing_is_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_inside_another_clean_up_a_signal_changes_nothing(
    up_home: Home, dashboard: DrainingDashboard, number: signal.Signals
) -> None:
    command = subprocess.Popen(
        [*HEARING, sys.executable, "-c", NESTED, str(up_home.config)],
        cwd=Path("/"),
        env=up_home.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    up_home.started.append(command)
    assert dashboard.asked.wait(60)
    command.send_signal(number)
    dashboard.released.set()
    stdout, stderr = command.communicate(timeout=20)
    assert (command.returncode, stdout.strip()) == (0, "True"), stderr
    up_home.assert_nothing_is_left()
