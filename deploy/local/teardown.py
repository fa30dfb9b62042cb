"""Ends everything that belongs to an instance and removes its temporary folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.local import processes
from deploy.local.logs import keep_logs
from deploy.local.processes import ProcessFacts
from indexer.errors import GraftworkError

# On SIGTERM the raylet waits 10 s, gcs_server and monitor.py over 30 s for nodes that are gone. Nothing of theirs
# outlives the instance, so they get this long.
_RAY_SERVERS = ("gcs/gcs_server", "raylet/raylet", "/monitor.py", "ray::RuntimeEnvAgent", "ray::DashboardAgent")
RAY_PATIENCE_S = 2.0


def stop_instance(*, instance: str, temp_dir: Path, grace_s: float, logs_to: Path | None = None) -> int:
    """Ends every process of an instance and verifies that none is left.

    Args:
        instance: Its id.
        temp_dir: Its temporary folder; removed.
        grace_s: Seconds between SIGTERM and SIGKILL; Ray's own servers get two at most.
        logs_to: Run folder that the logs of the last session are kept in; None throws them away.

    Returns:
        How many were found at first.

    Raises:
        GraftworkError: Some cannot be ended; names them.
    """

    def seek() -> tuple[ProcessFacts, ...]:
        return processes.find(instance=instance, temp_dir=temp_dir)

    def patience(facts: ProcessFacts) -> float:
        is_ray = any(part in facts.command for part in _RAY_SERVERS)
        return min(RAY_PATIENCE_S, grace_s) if is_ray else grace_s

    found = seek()
    left = processes.stop(seek, patience=patience)
    if left:
        named = ", ".join(f"{facts.key.pid} ({facts.command[:40]})" for facts in left)
        raise GraftworkError(f"These processes of instance {instance} cannot be ended: {named}; end them by hand.")
    if logs_to is not None:
        keep_logs(run_dir=logs_to, temp_dir=temp_dir)
    shutil.rmtree(temp_dir, ignore_errors=True)
    return len(found)
