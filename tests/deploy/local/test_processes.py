from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local import processes
from deploy.local.processes import MARK, ProcessFacts, ProcessKey

# A parent that starts a child that starts a grandchild; each writes its pid and waits.
TREE = """
import os, subprocess, sys, time
depth, folder = int(sys.argv[1]), sys.argv[2]
open(f"{folder}/{depth}.part", "w").write(str(os.getpid()))
os.rename(f"{folder}/{depth}.part", f"{folder}/{depth}")
if depth:
    subprocess.Popen([sys.executable, "-c", sys.argv[3], str(depth - 1), folder, sys.argv[3]], start_new_session=True)
time.sleep(120)
"""
# What setproctitle does to a Ray worker: arguments and environment are gone from /proc.
FORGETFUL = """
import os, sys, time
from ray._raylet import setproctitle
setproctitle("ray::IDLE")
open(sys.argv[1], "w").write("ready")
time.sleep(120)
"""
DEAF = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open(sys.argv[1], 'w'); time.sleep(120)"
)

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(code: str, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", code, *arguments], start_new_session=True, **options)  # type: ignore[call-overload]
        started.append(process)
        return process  # type: ignore[no-any-return]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)
    return path.read_text()


def marked(instance: str) -> dict[str, str]:
    return {**os.environ, MARK: instance}


def test_an_orphan_is_found_after_kill_9_of_its_parents(tmp_path: Path, start: Start) -> None:
    instance = f"t{os.getpid()}"
    root = start(TREE, "2", str(tmp_path), TREE, env=marked(instance))
    pids = [int(wait_for(tmp_path / str(depth))) for depth in (2, 1, 0)]
    assert pids[0] == root.pid
    os.kill(pids[0], signal.SIGKILL)
    os.kill(pids[1], signal.SIGKILL)
    root.wait()

    def seek() -> tuple[ProcessFacts, ...]:
        return processes.find(instance=instance, temp_dir=tmp_path / "none")

    assert [facts.key.pid for facts in seek()] == [pids[2]]
    assert processes.stop(seek, patience=lambda _: 5.0) == ()
    assert seek() == ()


def test_a_worker_that_overwrote_its_environment_is_found_by_its_output(tmp_path: Path, start: Start) -> None:
    temp_dir = tmp_path / "temp"
    temp_dir.mkdir()
    with (temp_dir / "worker.out").open("wb") as output:
        process = start(FORGETFUL, str(tmp_path / "ready"), stdout=output, stderr=output, env=marked("gone"))
    wait_for(tmp_path / "ready")
    [found] = processes.find(instance="another", temp_dir=temp_dir)
    assert (found.key.pid, found.command, found.marked) == (process.pid, "ray::IDLE", False)


def test_a_process_that_ignores_sigterm_is_killed_when_its_patience_is_over(tmp_path: Path, start: Start) -> None:
    instance = f"d{os.getpid()}"
    process = start(DEAF, str(tmp_path / "ready"), env=marked(instance))
    wait_for(tmp_path / "ready")
    begun = time.monotonic()
    left = processes.stop(lambda: processes.find(instance=instance, temp_dir=tmp_path / "none"), patience=lambda _: 0.5)
    assert left == ()
    assert 0.4 < time.monotonic() - begun < 5
    assert process.wait() == -signal.SIGKILL


def test_a_pid_that_is_used_again_is_another_process() -> None:
    ticks = processes.start_ticks(os.getpid())
    assert ticks is not None
    assert processes.is_alive(ProcessKey(os.getpid(), ticks))
    assert not processes.is_alive(ProcessKey(os.getpid(), ticks - 1))


def test_a_zombie_is_not_alive() -> None:
    process = subprocess.Popen(["true"])
    deadline = time.monotonic() + 10
    while processes.start_ticks(process.pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.wait()


def facts(
    pid: int, *, parent: int = 1, command: str = "x", program: str = "x", outputs: tuple[str, ...] = ()
) -> ProcessFacts:
    return ProcessFacts(ProcessKey(pid, pid), parent, "S", command, program, False, outputs, 0)


def chosen(*found: ProcessFacts, spared: frozenset[int] = frozenset()) -> list[int]:
    selected = processes.select(found, temp_dir=Path("/tmp/graftwork-1"), spared=spared)
    return [entry.key.pid for entry in selected]


def test_servers_that_name_the_folder_belong() -> None:
    raylet = facts(10, command="/x/raylet --log_dir=/tmp/graftwork-1/session/logs", program="raylet")
    assert chosen(raylet) == [10]
    assert chosen(replace(raylet, command="/x/raylet --log_dir=/tmp/graftwork-12/session")) == []


def test_a_reader_of_the_logs_does_not_belong() -> None:
    assert chosen(facts(10, command="tail -f /tmp/graftwork-1/session_latest/logs/raylet.out", program="tail")) == []


def test_descendants_belong_whatever_they_look_like() -> None:
    owner = replace(facts(10), marked=True)
    assert chosen(facts(12, parent=11), owner, facts(11, parent=10), facts(20)) == [10, 11, 12]


def test_this_command_is_spared_with_what_started_it() -> None:
    owner = replace(facts(10), marked=True)
    assert chosen(owner, replace(facts(11, parent=10), marked=True), spared=frozenset({11})) == [10]
    assert {os.getpid(), os.getppid()} <= processes.own_line()


def test_zombies_do_not_belong() -> None:
    assert chosen(replace(facts(10), marked=True, state="Z")) == []
