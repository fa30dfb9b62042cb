"""Bare vLLM's place is taken by small programs: what is started, waited for, told of and ended."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.bench import peers
from deploy.bench.peers import ADAPTER_REF, Engine, running_peer
from deploy.local import processes
from deploy.local.state import InstanceState
from deploy.local.transient import transient_instance
from deploy.settings import load_settings
from indexer.errors import InputError, UnavailableError
from serve.bench.peers import BARE_VLLM
from tests.home import Home
from tests.serve.layers.conftest import BASE

# Streams one token for each model that it was started with, and has a child that would outlive it.
STREAMING = """
import json, os, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
assert os.environ["VLLM_PLUGINS"] == "" and "GRAFTWORK_SERVE__PORT" not in os.environ
subprocess.Popen(["sleep", "300"], start_new_session=True)
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        model = json.loads(self.rfile.read(int(self.headers["content-length"])))["model"]
        self.send_response(200 if model in sys.argv[2:] else 404)
        self.end_headers()
        self.wfile.write(b'data: {"choices":[{"delta":{"content":"a"}}]}\\n\\ndata: [DONE]\\n\\n')
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
FAILING = "print('loading'); print('ValueError: no such dtype'); raise SystemExit(3)"


@pytest.fixture
def state(bare_home: Home) -> Iterator[InstanceState]:
    settings = load_settings(config=bare_home.config).settings
    with transient_instance(settings, need_ray=False, need_milvus=False) as made:
        yield made


def engine_of(home: Home, *, adapter: Path | None = None) -> Engine:
    return Engine(load_settings(config=home.config).settings, BASE, adapter)


def stand_in(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    def command(*_: object, name: str, port: int, adapters: dict[str, Path], **__: object) -> list[str]:
        return [sys.executable, "-c", textwrap.dedent(program), str(port), name, *adapters]

    monkeypatch.setattr(peers, "vllm_command", command)


def left(state: InstanceState) -> list[str]:
    found = processes.find(instance=state.instance, temp_dir=Path(state.temp_dir))
    return [facts.command for facts in found]


def test_a_server_runs_for_the_length_of_the_block(
    bare_home: Home, state: InstanceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, STREAMING)
    monkeypatch.setenv("GRAFTWORK_SERVE__PORT", "9")
    engine = engine_of(bare_home, adapter=bare_home.folder)

    def interrupted() -> None:
        with running_peer(BARE_VLLM, engine, state=state, tell=print) as target:
            assert target.models == {"base": "base", "adapter": ADAPTER_REF}
            assert len(left(state)) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert left(state) == []
    assert not os.path.exists(state.temp_dir)


def test_a_server_that_does_not_start_is_told_of_with_its_last_words(
    bare_home: Home, state: InstanceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, FAILING)
    said = r"vllm did not start: it ended with exit code 3\. Last words of its log: ValueError: no such dtype$"
    with (
        pytest.raises(UnavailableError, match=said),
        running_peer(BARE_VLLM, engine_of(bare_home), state=state, tell=print),
    ):
        pass
    assert left(state) == []


def test_a_server_that_never_answers_is_given_up(
    bare_home: Home, state: InstanceState, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, "import time; print('loading', flush=True); time.sleep(300)")
    monkeypatch.setenv("GRAFTWORK_DEPLOY__START_TIMEOUT_S", "1")
    with (
        pytest.raises(UnavailableError, match=r"vllm did not start: No token came from 'base'.*: loading$"),
        running_peer(BARE_VLLM, engine_of(bare_home), state=state, tell=print),
    ):
        pass
    assert left(state) == []


def test_an_unknown_server_is_refused(bare_home: Home, state: InstanceState) -> None:
    with (
        pytest.raises(InputError, match="'sglang' is no peer"),
        running_peer("sglang", engine_of(bare_home), state=state, tell=print),
    ):
        pass
