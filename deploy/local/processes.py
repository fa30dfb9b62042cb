"""Finds and ends every process of one instance, also after a kill -9 of its parents. Linux, from /proc.

A process belongs to an instance if one of these holds, or if it descends from one that does:
its environment carries GRAFTWORK_INSTANCE=<id>; it is one of the servers we start and its command line names the
instance's temporary folder; its standard output or error is a file in that folder. The first alone is not enough: Ray
workers overwrite their environment with a process title, and a killed EngineCore leaves a worker without a parent.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

MARK = "GRAFTWORK_INSTANCE"
# Programs whose command line may prove membership; an editor or `tail` on a log file of the instance may not.
_SERVERS = ("python", "ray", "gcs_server", "haproxy", "milvus")
_POLL_S = 0.05
_AFTER_KILL_S = 5.0


@dataclass(frozen=True, slots=True)
class ProcessKey:
    """One process for ever: a pid is used again, a pid with its start time (clock ticks since boot) is not."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """What /proc says about one process.

    Attributes:
        key: Its identity.
        parent: Pid of its parent.
        state: State letter; Z is a zombie.
        command: Command line, arguments joined by spaces; a process title where one was set.
        program: File name of the executable, or the first word of the command line.
        marked: Its environment carries the instance's mark.
        outputs: Targets of its standard output and error.
        rss_bytes: Resident memory.
    """

    key: ProcessKey
    parent: int
    state: str
    command: str
    program: str
    marked: bool
    outputs: tuple[str, ...]
    rss_bytes: int


def start_ticks(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None where there is no such process, or only a zombie."""
    stat = _stat(pid)
    return None if stat is None or stat[0] == "Z" else stat[2]


def is_alive(key: ProcessKey) -> bool:
    """Whether exactly this process still runs."""
    return start_ticks(key.pid) == key.start_ticks


def read_processes(*, instance: str) -> tuple[ProcessFacts, ...]:
    """Facts of every process of this machine that can be read."""
    mark = f"{MARK}={instance}".encode()
    found = (_read(int(name), mark) for name in os.listdir("/proc") if name.isdigit())
    return tuple(facts for facts in found if facts is not None)


def select(processes: Iterable[ProcessFacts], *, temp_dir: Path, spared: frozenset[int]) -> tuple[ProcessFacts, ...]:
    """The processes that belong to an instance, parents before children.

    Args:
        processes: Facts of all processes.
        temp_dir: The instance's temporary folder.
        spared: Pids that never belong: this process and its ancestors.
    """
    by_pid = {facts.key.pid: facts for facts in processes if facts.state != "Z" and facts.key.pid not in spared}
    chosen = {pid for pid, facts in by_pid.items() if _belongs(facts, temp_dir=str(temp_dir))}
    children: dict[int, list[int]] = {}
    for pid, facts in by_pid.items():
        children.setdefault(facts.parent, []).append(pid)
    queue = list(chosen)
    while queue:
        for child in children.get(queue.pop(), []):
            if child not in chosen:
                chosen.add(child)
                queue.append(child)
    return tuple(sorted((by_pid[pid] for pid in chosen), key=lambda facts: (facts.key.start_ticks, facts.key.pid)))


def find(*, instance: str, temp_dir: Path) -> tuple[ProcessFacts, ...]:
    """Every running process of an instance, oldest first."""
    return select(read_processes(instance=instance), temp_dir=temp_dir, spared=own_line())


def own_line() -> frozenset[int]:
    """Pids of this process and its ancestors."""
    pids, pid = set(), os.getpid()
    while pid > 1 and pid not in pids:
        pids.add(pid)
        stat = _stat(pid)
        pid = stat[1] if stat else 0
    return frozenset(pids)


def stop(
    seek: Callable[[], Iterable[ProcessFacts]], *, patience: Callable[[ProcessFacts], float]
) -> tuple[ProcessFacts, ...]:
    """Ends processes: SIGTERM as soon as one is seen, SIGKILL when its patience is over, until `seek` finds none.

    Args:
        seek: Finds the processes that are left; asked again and again, so that late children are seen.
        patience: Seconds that a process gets between the two signals.

    Returns:
        What is left after all that; empty as a rule.
    """
    kill_at: dict[ProcessKey, float] = {}
    give_up_at = 0.0
    while left := tuple(seek()):
        now = time.monotonic()
        for facts in left:
            if facts.key not in kill_at:
                kill_at[facts.key] = now + patience(facts)
                _send(facts.key, signal.SIGTERM)
            elif now >= kill_at[facts.key]:
                _send(facts.key, signal.SIGKILL)
        give_up_at = give_up_at or max(kill_at.values()) + _AFTER_KILL_S
        if now >= give_up_at:
            break
        time.sleep(_POLL_S)
    return left


def _send(key: ProcessKey, number: signal.Signals) -> None:
    try:
        handle = os.pidfd_open(key.pid)
    except (ProcessLookupError, PermissionError):
        return
    try:
        if is_alive(key):
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def _belongs(facts: ProcessFacts, *, temp_dir: str) -> bool:
    if facts.marked or any(_inside(output, temp_dir) for output in facts.outputs):
        return True
    names_folder = (
        f"{temp_dir}/" in facts.command or facts.command.endswith(temp_dir) or f"{temp_dir} " in facts.command
    )
    return names_folder and facts.program.startswith(_SERVERS)


def _inside(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


def _stat(pid: int) -> tuple[str, int, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[1]), int(fields[19])


def _read(pid: int, mark: bytes) -> ProcessFacts | None:
    stat = _stat(pid)
    if stat is None:
        return None
    folder = Path(f"/proc/{pid}")
    command = _bytes(folder / "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
    executable = _link(folder / "exe")
    statm = _bytes(folder / "statm").split()
    return ProcessFacts(
        key=ProcessKey(pid, stat[2]),
        parent=stat[1],
        state=stat[0],
        command=command,
        program=os.path.basename(executable or command.split(" ")[0]),
        marked=mark in _bytes(folder / "environ").split(b"\0"),
        outputs=tuple(target for target in (_link(folder / "fd" / "1"), _link(folder / "fd" / "2")) if target),
        rss_bytes=int(statm[1]) * os.sysconf("SC_PAGE_SIZE") if len(statm) > 1 else 0,
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
