from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from train.engine.watch import Ended, run_watched

MIB = 2**20


def watched(code: str, log: Path, *, memory_mib: int = 1000, timeout_s: float = 30.0) -> Ended:
    return run_watched(
        [sys.executable, "-c", code],
        environment=dict(os.environ),
        log=log,
        memory_bytes=memory_mib * MIB,
        timeout_s=timeout_s,
    )


def test_a_program_within_its_bounds_ends_by_itself(tmp_path: Path) -> None:
    log = tmp_path / "log"
    ended = watched("import sys; print('out'); sys.stderr.write('err'); sys.exit(3)", log)
    assert (ended.exit_code, ended.over) == (3, None)
    assert "out" in log.read_text()
    assert "err" in log.read_text()


def test_a_program_over_its_memory_is_ended_with_its_children(tmp_path: Path) -> None:
    child = "import time; block = bytearray(b'x') * 150_000_000; time.sleep(60)"
    code = (
        "import subprocess, sys, time\n"
        f"print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid, flush=True)\n"
        "time.sleep(60)"
    )
    ended = watched(code, tmp_path / "log", memory_mib=120)
    assert (ended.exit_code, ended.over) == (-signal.SIGKILL, "memory")
    assert 120 * MIB < ended.peak_bytes < 400 * MIB
    assert ended.seconds < 30
    assert not psutil.pid_exists(int((tmp_path / "log").read_text()))


def test_a_program_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    ended = watched("import time; time.sleep(60)", tmp_path / "log", timeout_s=0.5)
    assert ended.over == "time"
    assert 0.5 <= ended.seconds < 10


def test_a_program_is_ended_when_its_watcher_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    before = {child.pid for child in psutil.Process().children()}

    def interrupted(_: float) -> None:
        seen.extend(child.pid for child in psutil.Process().children() if child.pid not in before)
        raise KeyboardInterrupt

    monkeypatch.setattr("train.engine.watch.time.sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        watched("import time; time.sleep(60)", tmp_path / "log")
    assert seen
    assert not any(psutil.pid_exists(pid) for pid in seen)


def test_one_side_of_the_check_ends_with_its_parent(tmp_path: Path) -> None:
    """The parent is killed while the program waits for what it is asked, a pipe that nobody writes to."""
    os.mkfifo(tmp_path / "probe.json")
    program = [sys.executable, "-m", "train.engine.program", "peft", str(tmp_path)]
    parent = (
        "import os, sys; from pathlib import Path; from train.engine.watch import run_watched\n"
        f"run_watched({program!r}, environment=os.environ, log=Path({str(tmp_path / 'log')!r}), "
        "memory_bytes=2**31, timeout_s=60)"
    )
    watcher = subprocess.Popen([sys.executable, "-c", parent])
    waited = time.monotonic() + 60
    while not (family := psutil.Process(watcher.pid).children()) or os.getpgid(family[0].pid) != family[0].pid:
        assert watcher.poll() is None
        assert time.monotonic() < waited
        time.sleep(0.05)
    watcher.kill()
    watcher.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    for process in alive:
        process.kill()
    assert alive == []
