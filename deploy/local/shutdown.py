"""Stops the instance of a home, whatever state it is in."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local import processes
from deploy.local.app_config import serve_config
from deploy.local.interrupts import uninterrupted
from deploy.local.processes import is_alive
from deploy.local.serve_client import ServeClient
from deploy.local.state import (
    STATE_FILE,
    InstanceState,
    instance_id,
    instance_lock,
    read_state,
    remove_state,
    temp_dir_of,
    write_state,
)
from deploy.local.teardown import stop_instance
from deploy.local.transient import sweep
from indexer.errors import GraftworkError, UnavailableError

if TYPE_CHECKING:
    from deploy.settings import Settings

# On top of the drain: Serve ends replicas one after the other.
_SERVE_SHUTDOWN_S = 15.0
# What processes get to end once somebody has pressed Ctrl-C; at most `deploy.stop_timeout_s`.
_HURRIED_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class DownResult:
    """What was stopped: processes found at first (0: nothing ran), and whether Serve could shut down by itself."""

    processes: int
    graceful: bool
    seconds: float


def down(settings: Settings, *, progress: Callable[[str], None]) -> DownResult:
    """Shuts Serve down, ends every process of the instance and verifies that none is left; harmless when nothing runs.

    SIGINT, SIGTERM and SIGHUP cut the draining short; they raise once nothing is left. Inside `uninterrupted` they
    change nothing.

    Raises:
        ConflictError: Another command is starting or stopping it.
        GraftworkError: A process cannot be ended.
    """
    begun = time.monotonic()
    path = settings.run_dir / STATE_FILE
    instance = instance_id(settings.home)
    temp_dir = temp_dir_of(instance)
    found, graceful, hurried = 0, False, True
    with uninterrupted() as interruptible, instance_lock(settings.run_dir):
        try:
            with interruptible():
                state = _state(path)
                found = len(processes.find(instance=instance, temp_dir=temp_dir))
                if state is not None and found:
                    graceful = _shut_serve_down(settings, state, path=path, progress=progress)
                progress("ending processes")
            hurried = False
        finally:  # Shows nothing: after SIGHUP there is no terminal to write to.
            patience = settings.deploy.stop_timeout_s
            stop_instance(
                instance=instance,
                temp_dir=temp_dir,
                grace_s=min(patience, _HURRIED_GRACE_S) if hurried else patience,
                logs_to=settings.run_dir,
            )
            found += sweep(settings)
            remove_state(path)
    return DownResult(found, graceful, time.monotonic() - begun)


def _state(path: Path) -> InstanceState | None:
    try:
        return read_state(path)
    except GraftworkError:
        return None  # Broken: the processes are found without it, and the file is removed at the end.


def _shut_serve_down(settings: Settings, state: InstanceState, *, path: Path, progress: Callable[[str], None]) -> bool:
    was_up = state.phase == "up"
    with contextlib.suppress(UnavailableError):  # A full disk must not keep it from being stopped.
        write_state(path, replace(state, phase="stopping"))
    if not was_up or not all(is_alive(process.key) for process in state.processes):
        return False
    progress("draining the app")
    try:
        client = ServeClient(state.urls["dashboard"], token_path=Path(state.token_path))
    except OSError:
        return False
    patience = settings.deploy.drain_s + settings.serve.shutdown_grace_s + _SERVE_SHUTDOWN_S
    return client.shut_down(serve_config(settings), timeout_s=patience)
