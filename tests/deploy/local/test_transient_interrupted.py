"""Ctrl-C while a command uses the Ray and the Milvus that it started for itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local import processes
from deploy.local.processes import ProcessFacts
from deploy.local.roles import role_of
from deploy.local.state import InstanceState
from tests.home import Home, press_ctrl_c, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long]

ROWS = 24


def find(state: InstanceState) -> tuple[ProcessFacts, ...]:
    return processes.find(instance=state.instance, temp_dir=Path(state.temp_dir))


def milvus_is_up(state: InstanceState) -> bool:
    return "milvus" in {process.role for process in state.processes}


def runs(role: str) -> Callable[[InstanceState], bool]:
    return lambda state: any(role in role_of(facts.command) for facts in find(state))


@pytest.fixture
def commands(tmp_path: Path) -> dict[str, tuple[str, ...]]:
    """By verb a command line that would take longer than the test waits."""
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "ropes.md").write_text("# Ropes\n\nThe hawser of the north berth is 212 metres long.\n")
    turns = [{"role": "user", "content": "How long is it?"}, {"role": "assistant", "content": "It is 212 metres long."}]
    rows = tmp_path / "rows.jsonl"
    rows.write_text(f"{json.dumps({'messages': turns})}\n" * ROWS)
    return {
        "index": ("index", str(documents), "--collection", "ropes"),
        "train": ("train", str(rows), "--name", "ropes", "--workers", "1"),
        "search": ("search", "hawser", "--collection", "ropes"),
    }


@pytest.mark.parametrize(
    ("verb", "ready"),
    [
        pytest.param("index", milvus_is_up, id="index-milvus"),
        pytest.param("index", runs("raylet"), id="index-ray"),
        pytest.param("index", runs("MapWorker"), id="index-embedding"),
        pytest.param("train", runs("RayTrainWorker"), id="train-training"),
        pytest.param("search", milvus_is_up, id="search-milvus"),
    ],
)
def test_ctrl_c_leaves_nothing(
    home: Home, commands: dict[str, tuple[str, ...]], verb: str, ready: Callable[[InstanceState], bool]
) -> None:
    if verb == "search":
        # Where there is nothing to search, the command has said so and ended before anybody could press a key.
        home.run(*commands["index"])
    command = home.start(*commands[verb])
    states: list[InstanceState] = []

    def is_ready() -> bool:
        assert command.poll() is None, command.communicate()
        state = home.transient
        if state is None or not ready(state):
            return False
        states.append(state)
        return True

    wait_until(is_ready, what=f"what {verb} starts")
    [state] = states
    seen = find(state)
    assert seen
    press_ctrl_c(command)
    time.sleep(0.3)
    if command.poll() is None:
        press_ctrl_c(command)  # A second one must not cut the clean-up short.
    _, stderr = command.communicate(timeout=90)
    assert command.returncode == 130, stderr
    assert stderr.splitlines()[-1] == "Interrupted."
    assert "Traceback" not in stderr
    assert find(state) == ()
    assert [facts.command for facts in seen if processes.is_alive(facts.key)] == []
    assert not Path(state.temp_dir).exists()
    assert home.transient is None
    assert not (Path(home.environment["HOME"]) / ".ray").exists()
