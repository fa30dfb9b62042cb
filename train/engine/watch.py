"""Runs a program that must not take more memory or time than it is given.

A limit of the address space (RLIMIT_AS) does not suit torch, which reserves far more than it touches, and a cgroup
wants rights that a container seldom gives. So the resident memory of the program and all its children is looked at
five times a second, and a program over its bound is ended. What is taken and given back between two looks is not seen,
and pages that several processes share are counted for each.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

Bound = Literal["memory", "time"]
_POLL_S = 0.2
# After its kill a process goes in milliseconds, unless the kernel waits for a device on its behalf.
_GONE_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended.

    Attributes:
        exit_code: Its own; negative: the signal that ended it.
        over: The bound for which it was ended; None: it ended by itself.
        seconds: How long it ran.
        peak_bytes: Most resident memory seen of it and its children.
    """

    exit_code: int
    over: Bound | None
    seconds: float
    peak_bytes: int


def run_watched(
    command: Sequence[str], *, environment: Mapping[str, str], log: Path, memory_bytes: int, timeout_s: float
) -> Ended:
    """Run a program to its end, or to one of its bounds; nothing of it is left when this returns or raises.

    Args:
        command: The program and its arguments. Its standard input stays open and empty until this process ends.
        environment: All its variables.
        log: File that takes what it prints.
        memory_bytes: Resident memory that it and its children may have.
        timeout_s: Seconds that it may run.
    """
    began, peak = time.monotonic(), 0
    over: Bound | None = None
    with log.open("wb") as output:
        program = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while program.poll() is None and over is None:
            time.sleep(_POLL_S)
            resident = sum(_resident(process) for process in _family(program.pid))
            peak = max(peak, resident)
            if resident > memory_bytes:
                over = "memory"
            elif time.monotonic() - began > timeout_s:
                over = "time"
    finally:
        _end(program)
    return Ended(program.returncode, over, time.monotonic() - began, peak)


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _end(program: subprocess.Popen[bytes]) -> None:
    family = _family(program.pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.pid, signal.SIGKILL)  # also those whose parent has ended
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    program.wait(_GONE_WITHIN_S)
    psutil.wait_procs([process for process in family if process.pid != program.pid], timeout=_GONE_WITHIN_S)
    if program.stdin is not None:
        program.stdin.close()
