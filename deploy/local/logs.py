"""The log files of an instance: which there are by component, their last lines, following them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

# Component -> patterns below Ray's temporary folder, newest session only.
RAY_PATTERNS: dict[str, tuple[str, ...]] = {
    "ray": ("logs/gcs_server.*", "logs/raylet.*", "logs/monitor.*", "logs/dashboard.*", "logs/dashboard_agent.*"),
    "app": ("logs/serve/replica_*", "logs/serve/controller_*"),
    "proxy": ("logs/serve/proxy_*", "logs/serve/haproxy*"),
    "workers": ("logs/worker-*",),
}
COMPONENTS = ("milvus", *RAY_PATTERNS)
_POLL_S = 0.3
_BLOCK = 64 * 1024


def log_files(component: str, *, run_dir: Path, temp_dir: Path) -> tuple[Path, ...]:
    """Non-empty log files of a component, oldest change first."""
    if component == "milvus":
        found = [run_dir / "milvus.log"]
    else:
        session = temp_dir / "session_latest"
        found = [file for pattern in RAY_PATTERNS[component] for file in session.glob(pattern)]
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
