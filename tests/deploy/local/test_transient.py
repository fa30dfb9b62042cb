from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.processes import MARK, start_ticks
from deploy.local.shutdown import down
from deploy.local.state import InstanceState, ServerProcess, instance_id, temp_dir_of, write_state
from deploy.local.transient import sweep
from deploy.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate({"home": str(tmp_path / "home")})


@pytest.fixture
def instance(settings: Settings) -> str:
    return f"{instance_id(settings.home)}-0a1b2c"


@pytest.fixture
def left_over(instance: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of a transient instance."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(120)"],
        env={**os.environ, MARK: instance},
        start_new_session=True,
    )
    yield process
    process.kill()
    process.wait()


def state_file(settings: Settings, name: str) -> Path:
    path = settings.run_dir / "transient" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def state_of(instance: str, *, owner: ServerProcess) -> InstanceState:
    return InstanceState(
        instance=instance,
        phase="starting",
        started_at="",
        home="",
        config=None,
        settings_digest="",
        temp_dir=str(temp_dir_of(instance)),
        token_path="",
        owner=owner,
    )


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 0, "instance": "another"}', '{"format": 1}'])
def test_a_file_that_cannot_be_understood_is_cleared_up_with_its_processes(
    settings: Settings, instance: str, left_over: subprocess.Popen[bytes], content: str
) -> None:
    path = state_file(settings, instance)
    path.write_text(content)
    assert down(settings, progress=lambda _: None).processes == 1
    assert left_over.wait(5) != 0
    assert not path.exists()


def test_a_dead_commands_instance_is_stopped_and_a_living_ones_is_left(
    settings: Settings, instance: str, left_over: subprocess.Popen[bytes]
) -> None:
    path = state_file(settings, instance)
    ticks = start_ticks(os.getpid()) or 0
    write_state(path, state_of(instance, owner=ServerProcess("owner", os.getpid(), ticks)))
    assert sweep(settings) == 0
    assert path.exists()
    assert left_over.poll() is None
    write_state(path, state_of(instance, owner=ServerProcess("owner", os.getpid(), ticks - 1)))
    assert sweep(settings) == 1
    assert not path.exists()


def test_a_file_whose_name_is_no_transient_instance_stops_nothing(
    settings: Settings, left_over: subprocess.Popen[bytes]
) -> None:
    for name in (instance_id(settings.home), "notes"):
        state_file(settings, name).write_text("{")
    assert sweep(settings) == 0
    assert left_over.poll() is None
