"""The log files of an instance: which there are by component, their last lines, following them."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

# Component -> patterns below the log folder of Ray's session.
RAY_PATTERNS: dict[str, tuple[str, ...]] = {
    "ray": ("gcs_server.*", "raylet.*", "monitor.*", "dashboard.*", "dashboard_agent.*"),
    "app": ("serve/replica_*", "serve/controller_*"),
    "proxy": ("serve/proxy_*", "serve/haproxy*"),
    "workers": ("worker-*",),
}
COMPONENTS = ("milvus", *RAY_PATTERNS)
KEPT_LOGS = "last_logs"
_POLL_S = 0.3
_BLOCK = 64 * 1024


def ray_log_folder(*, run_dir: Path, temp_dir: Path) -> Path:
    """Where Ray's logs are: the running session's, else those kept of the last one."""
    running = temp_dir / "session_latest" / "logs"
    return running if running.is_dir() else run_dir / KEPT_LOGS


def keep_logs(*, run_dir: Path, temp_dir: Path) -> None:
    """Copies the session's logs out of the temporary folder before it is removed, in place of those kept before.

    Those for which there is no room are lost: a full disk must not keep an instance from being stopped.
    """
    source = temp_dir / "session_latest" / "logs"
    if not source.is_dir():
        return
    target = run_dir / KEPT_LOGS
    shutil.rmtree(target, ignore_errors=True)
    with contextlib.suppress(OSError):
        shutil.copytree(source, target, ignore_dangling_symlinks=True, dirs_exist_ok=True)


def log_files(component: str, *, run_dir: Path, temp_dir: Path) -> tuple[Path, ...]:
    """Non-empty log files of a component, oldest change first."""
    if component == "milvus":
        found = [run_dir / "milvus.log"]
    else:
        folder = ray_log_folder(run_dir=run_dir, temp_dir=temp_dir)
        found = [file for pattern in RAY_PATTERNS[component] for file in folder.glob(pattern) if file.is_file()]
    return tuple(sorted((file for file in found if _size(file)), key=lambda file: file.stat().st_mtime))


def last_lines(path: Path, *, count: int, begin: int = 0) -> list[str]:
    """The last `count` non-empty lines of a file behind byte `begin`; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(begin, _size(path) - max(_BLOCK, 400 * count)))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return list(deque((line.rstrip() for line in text.splitlines() if line.strip()), maxlen=count))


def follow(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Yields (file, line) for every line that is added from now on; never ends by itself."""
    positions = {path: _size(path) for path in paths}
    while True:
        for path in paths:
            size = _size(path)
            if size <= positions[path]:
                positions[path] = min(positions[path], size)
                continue
            with path.open("rb") as file:
                file.seek(positions[path])
                block = file.read()
            whole = block.rfind(b"\n") + 1
            positions[path] += whole
            for line in block[:whole].decode(errors="replace").splitlines():
                yield path, line
        time.sleep(_POLL_S)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
