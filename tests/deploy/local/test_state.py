from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.state import (
    InstanceState,
    ServerProcess,
    instance_id,
    instance_lock,
    read_state,
    remove_state,
    temp_dir_of,
    write_state,
)
from indexer.errors import ConflictError, GraftworkError, UnavailableError
from serve.scale import Scale
from serve.settings import AutoscalingSettings
from tests.full_disk import full_disk

STATE = InstanceState(
    instance="0123abcd",
    phase="up",
    started_at="2026-01-01T00:00:00+00:00",
    home="/h",
    config=None,
    settings_digest="d",
    temp_dir="/tmp/graftwork-0123abcd",
    token_path="/h/run/ray_auth_token",
    ports={"http": 8000},
    urls={"api": "http://127.0.0.1:8000"},
    versions={"ray": "2.60.0"},
    processes=(ServerProcess("milvus", 1, 2),),
    owner=ServerProcess("owner", 3, 4),
    scale=Scale(replicas=2, autoscaling=AutoscalingSettings(max_replicas=3)),
)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "run" / "state.json"
    write_state(path, STATE)
    assert read_state(path) == STATE
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["state.json"]


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path / "state.json") is None
    remove_state(tmp_path / "state.json")


def test_a_full_disk_is_named_and_the_state_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "run" / "state.json"
    write_state(path, STATE)
    with full_disk(), pytest.raises(UnavailableError, match=r"state of the instance cannot be written at .*: File too"):
        write_state(path, replace(STATE, phase="stopping"))
    assert read_state(path) == STATE
    assert os.listdir(path.parent) == ["state.json"]


def test_a_home_below_a_file_has_no_state_and_takes_no_lock(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run_dir = tmp_path / "file" / "run"
    assert read_state(run_dir / "state.json") is None
    with pytest.raises(UnavailableError, match=f"{run_dir}: Not a directory; "), instance_lock(run_dir):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format": 99}', '{"format": 1}'])
def test_a_broken_file_says_what_to_do(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(GraftworkError, match=r"state\.json cannot be read: .*graftwork down"):
        read_state(path)


def test_the_id_depends_on_the_home_alone(tmp_path: Path) -> None:
    assert instance_id(tmp_path) == instance_id(tmp_path)
    assert instance_id(tmp_path) != instance_id(tmp_path / "other")
    assert len(str(temp_dir_of(instance_id(tmp_path)))) == len("/tmp/graftwork-01234567")


def _hold(run_dir: Path, ready: object, finish: object) -> None:
    with instance_lock(run_dir):
        ready.set()  # type: ignore[attr-defined]
        finish.wait(30)  # type: ignore[attr-defined]


def test_one_command_at_a_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, finish = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, ready, finish))
    holder.start()
    try:
        assert ready.wait(30)
        with pytest.raises(ConflictError, match="Another graftwork command"), instance_lock(tmp_path):
            pass
    finally:
        holder.kill()
        holder.join()
    with instance_lock(tmp_path):
        pass
