from __future__ import annotations

import threading
import time
from pathlib import Path

from deploy.local.logs import KEPT_LOGS, follow, keep_logs, last_lines, log_files
from tests.full_disk import full_disk


def session(temp_dir: Path) -> Path:
    logs = temp_dir / "session_1" / "logs"
    (logs / "serve").mkdir(parents=True)
    (temp_dir / "session_latest").symlink_to(temp_dir / "session_1")
    (logs / "raylet.out").write_text("started\n")
    (logs / "raylet.err").write_text("")
    (logs / "serve" / "replica_a.log").write_text("one\n\ntwo\n")
    return logs


def test_components_have_their_files(tmp_path: Path) -> None:
    logs = session(tmp_path / "temp")
    run = tmp_path / "run"
    assert log_files("ray", run_dir=run, temp_dir=tmp_path / "temp") == (
        tmp_path / "temp" / "session_latest" / "logs" / "raylet.out",
    )
    assert [file.name for file in log_files("app", run_dir=run, temp_dir=tmp_path / "temp")] == ["replica_a.log"]
    assert log_files("milvus", run_dir=run, temp_dir=tmp_path / "temp") == ()
    assert logs.is_dir()


def test_kept_logs_stand_in_for_a_session_that_is_gone(tmp_path: Path) -> None:
    session(tmp_path / "temp")
    run = tmp_path / "run"
    (run / KEPT_LOGS).mkdir(parents=True)
    (run / KEPT_LOGS / "raylet.old").write_text("older")
    keep_logs(run_dir=run, temp_dir=tmp_path / "temp")
    found = log_files("ray", run_dir=run, temp_dir=tmp_path / "gone")
    assert found == (run / KEPT_LOGS / "raylet.out",)
    keep_logs(run_dir=run, temp_dir=tmp_path / "gone")
    assert found[0].read_text() == "started\n"


def test_logs_for_which_there_is_no_room_keep_nothing_from_going_on(tmp_path: Path) -> None:
    session(tmp_path / "temp")
    with full_disk():
        keep_logs(run_dir=tmp_path / "run", temp_dir=tmp_path / "temp")
    assert log_files("ray", run_dir=tmp_path / "run", temp_dir=tmp_path / "gone") == ()


def test_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\n\ntwo\nthree\n")
    assert last_lines(path, count=2) == ["two", "three"]
    assert last_lines(path, count=9, begin=5) == ["two", "three"]
    assert last_lines(tmp_path / "absent", count=2) == []


def test_following_gives_whole_new_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")

    def write() -> None:
        time.sleep(0.2)
        with path.open("a") as file:
            file.write("ne")
            file.flush()
            time.sleep(0.5)
            file.write("w\n")

    thread = threading.Thread(target=write)
    stream = follow([path])
    thread.start()
    assert next(stream) == (path, "new")
    thread.join()
