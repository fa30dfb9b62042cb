"""Ends everything that belongs to an instance and removes its temporary folder."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from deploy.local import processes
from deploy.local.logs import keep_logs
from indexer.errors import GraftworkError

# milvus-lite closes its data folder properly on SIGINT only.
_MILVUS = "milvus_lite"


def stop_instance(*, instance: str, temp_dir: Path, grace_s: float, logs_to: Path | None = None) -> int:
    """Ends every process of an instance and verifies that none is left.

    Args:
        instance: Its id.
        temp_dir: Its temporary folder; removed.
        grace_s: Seconds between SIGTERM and SIGKILL.
        logs_to: Run folder that the logs of the last session are kept in; None throws them away.

    Returns:
        How many were found at first.

    Raises:
        GraftworkError: Some cannot be ended; names them.
    """
    found = processes.find(instance=instance, temp_dir=temp_dir)
    milvus = {facts.key.pid: signal.SIGINT for facts in found if _MILVUS in facts.command}
    left = processes.stop(
        lambda: processes.find(instance=instance, temp_dir=temp_dir), grace_s=grace_s, first_signals=milvus
    )
    if left:
        named = ", ".join(f"{facts.key.pid} ({facts.command[:40]})" for facts in left)
        raise GraftworkError(f"These processes of instance {instance} cannot be ended: {named}; end them by hand.")
    if logs_to is not None:
        keep_logs(run_dir=logs_to, temp_dir=temp_dir)
    shutil.rmtree(temp_dir, ignore_errors=True)
    return len(found)
