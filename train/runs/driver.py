"""The process that drives a run, known so that it can be told later whether it is still there."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

import psutil

# Both readings of the system's boot time are whole seconds, and its clock may be set between them.
_TOLERANCE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """One process for ever: a pid is used again, a pid with its start time is not.

    Attributes:
        host: Name of its machine.
        pid: Its pid there.
        started_s: Seconds from the machine's boot to its start.
    """

    host: str
    pid: int
    started_s: float


def this_driver() -> Driver:
    """Return this process."""
    return driver_of(os.getpid())


def driver_of(pid: int) -> Driver:
    """Return a process of this machine; psutil.Error where there is none."""
    return Driver(host=socket.gethostname(), pid=pid, started_s=_started(pid))


def is_gone(driver: Driver) -> bool | None:
    """Whether a process has ended, also if nobody has taken note of its end; None if its machine is another one."""
    if driver.host != socket.gethostname():
        return None
    try:
        if psutil.Process(driver.pid).status() == psutil.STATUS_ZOMBIE:
            return True
        return abs(_started(driver.pid) - driver.started_s) > _TOLERANCE_S
    except psutil.NoSuchProcess:
        return True


def _started(pid: int) -> float:
    return round(psutil.Process(pid).create_time() - psutil.boot_time(), 2)
